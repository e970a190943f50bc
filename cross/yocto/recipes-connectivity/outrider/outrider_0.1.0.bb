SUMMARY = "In-vehicle edge agent: CAN frames in, decisions on board, events out"
DESCRIPTION = "Reads CAN buses, decodes them with DBC files, finds anomalies with ONNX models and learned profiles, keeps \
events on disk while there is no connection, and sends them to MQTT or Kafka gateways."
HOMEPAGE = "https://github.com/outrider-edge/outrider"
BUGTRACKER = "https://github.com/outrider-edge/outrider/issues"
SECTION = "net"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = " \
    file://LICENSE-APACHE;md5=22a53954e4e0ec258dfce4391e905dac \
    file://LICENSE-MIT;md5=3de91869f7350bc5e0134ab8cf0b8f9e \
"
CVE_PRODUCT = "outrider"

SRC_URI = "git://github.com/outrider-edge/outrider.git;protocol=https;nobranch=1;tag=v${PV}"

# Of scarthgap; from walnascar on it is ${UNPACKDIR}/git.
S = "${WORKDIR}/git"

# Crates and their hashes, from Cargo.lock: cross/yocto/crates makes it.
require ${BPN}-crates.inc

inherit cargo systemd useradd

# What a small ECU leaves out: PACKAGECONFIG:remove:pn-outrider = "onnx"
PACKAGECONFIG ??= "kafka onnx tools"
PACKAGECONFIG[kafka] = ""
PACKAGECONFIG[onnx] = ""
PACKAGECONFIG[tools] = ""
CARGO_BUILD_FLAGS += "--package outrider --bin outrider --no-default-features"
CARGO_BUILD_FLAGS += "--features '${@','.join((d.getVar('PACKAGECONFIG') or '').split())}'"

do_install() {
    install -Dm 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/outrider ${D}${bindir}/outrider
    install -Dm 0644 ${S}/systemd/default.toml ${D}${sysconfdir}/outrider/outrider.toml
    install -Dm 0644 ${S}/systemd/sysctl.d/90-outrider.conf ${D}${nonarch_libdir}/sysctl.d/90-outrider.conf
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -Dm 0644 ${S}/systemd/outrider.service ${D}${systemd_system_unitdir}/outrider.service
        install -Dm 0644 ${S}/systemd/tmpfiles.d/outrider.conf ${D}${nonarch_libdir}/tmpfiles.d/outrider.conf
    else
        install -Dm 0755 ${S}/systemd/S80outrider ${D}${sysconfdir}/init.d/outrider
    fi
}

SYSTEMD_SERVICE:${PN} = "outrider.service"

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --home-dir ${localstatedir}/lib/outrider --no-create-home --shell /sbin/nologin --user-group outrider"

FILES:${PN} += "${nonarch_libdir}/sysctl.d ${nonarch_libdir}/tmpfiles.d"
CONFFILES:${PN} = "${sysconfdir}/outrider/outrider.toml"
RRECOMMENDS:${PN} += "kernel-module-can kernel-module-can-raw"
