################################################################################
#
# outrider
#
################################################################################

OUTRIDER_VERSION = 0.1.0
OUTRIDER_SITE = $(call github,outrider-edge,outrider,v$(OUTRIDER_VERSION))
OUTRIDER_LICENSE = MIT or Apache-2.0
OUTRIDER_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE

OUTRIDER_FEATURES = \
	$(if $(BR2_PACKAGE_OUTRIDER_ONNX),onnx) \
	$(if $(BR2_PACKAGE_OUTRIDER_KAFKA),kafka) \
	$(if $(BR2_PACKAGE_OUTRIDER_TOOLS),tools)
OUTRIDER_CARGO_BUILD_OPTS = --package outrider --bin outrider --no-default-features \
	--features "$(strip $(OUTRIDER_FEATURES))"

define OUTRIDER_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/outrider \
		$(TARGET_DIR)/usr/bin/outrider
	$(INSTALL) -D -m 0644 $(@D)/systemd/default.toml \
		$(TARGET_DIR)/etc/outrider/outrider.toml
	$(INSTALL) -D -m 0644 $(@D)/systemd/sysctl.d/90-outrider.conf \
		$(TARGET_DIR)/etc/sysctl.d/90-outrider.conf
endef

define OUTRIDER_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/systemd/outrider.service \
		$(TARGET_DIR)/usr/lib/systemd/system/outrider.service
	$(INSTALL) -D -m 0644 $(@D)/systemd/tmpfiles.d/outrider.conf \
		$(TARGET_DIR)/usr/lib/tmpfiles.d/outrider.conf
endef

define OUTRIDER_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/systemd/S80outrider \
		$(TARGET_DIR)/etc/init.d/S80outrider
endef

define OUTRIDER_USERS
	outrider -1 outrider -1 * /var/lib/outrider - - Outrider
endef

$(eval $(cargo-package))
