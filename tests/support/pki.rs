//! Certificates made with the openssl program.

#![allow(dead_code, reason = "the scenario tests each use a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use outrider::uplink::TlsConfig;
use sha2::{Digest, Sha256};

use crate::mosquitto::program;

/// An authority and what it has signed.
pub(crate) struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// An authority, a gateway named `localhost`, a vehicle, and a second authority that signed nothing.
    pub(crate) fn make(dir: &Path) -> Self {
        let pki = Self { dir: dir.to_owned() };
        for ca in ["ca", "foreign"] {
            pki.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN={ca} \
                 -addext basicConstraints=critical,CA:TRUE -keyout {ca}.key -out {ca}.pem"
            ));
        }
        std::fs::write(dir.join("leaf.ext"), "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n").unwrap();
        // What `openssl ca` keeps its books in.
        for ca in ["ca", "foreign"] {
            let settings = format!(
                "[ca]\ndefault_ca=this\n[this]\ndir=.\ndatabase={ca}.txt\ncertificate={ca}.pem\nprivate_key={ca}.key\n\
                 new_certs_dir=.\nserial=serial\nrand_serial=yes\ndefault_md=sha256\npolicy=any\nunique_subject=no\n\
                 default_crl_days=7\ncrl_extensions=list\n[any]\ncommonName=supplied\n\
                 [list]\nauthorityKeyIdentifier=keyid:always\n"
            );
            std::fs::write(dir.join(format!("{ca}.cnf")), settings).unwrap();
            std::fs::write(dir.join(format!("{ca}.txt")), "").unwrap();
        }
        for leaf in ["gateway", "vehicle"] {
            pki.make_key(leaf);
            pki.issue_for_days(leaf, 30);
        }
        pki
    }

    /// A new key, and a request for a certificate.
    pub(crate) fn make_key(&self, leaf: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={leaf} -keyout {leaf}.key -out {leaf}.csr"
        ));
    }

    /// A certificate for the key, from now on.
    pub(crate) fn issue_for_days(&self, leaf: &str, days: u32) {
        self.sign(leaf, &format!("-days {days}"));
    }

    /// A certificate for the key, from one time (YYYYMMDDhhmmssZ) to another.
    pub(crate) fn issue(&self, leaf: &str, from: &str, to: &str) {
        self.sign(leaf, &format!("-startdate {from} -enddate {to}"));
    }

    fn sign(&self, leaf: &str, dates: &str) {
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -in {leaf}.csr -out {leaf}.pem -extfile leaf.ext {dates}"
        ));
    }

    /// The authority revokes a certificate.
    pub(crate) fn revoke(&self, leaf: &str) {
        self.openssl(&format!("ca -config ca.cnf -revoke {leaf}.pem"));
    }

    /// The revocation list of an authority.
    pub(crate) fn revocations(&self, file: &str, ca: &str) {
        self.openssl(&format!("ca -config {ca}.cnf -gencrl -out {file}"));
    }

    /// SHA-256 over the SubjectPublicKeyInfo of a certificate.
    pub(crate) fn pin(&self, name: &str) -> [u8; 32] {
        let public = self.openssl(&format!("x509 -in {name}.pem -pubkey -noout"));
        std::fs::write(self.dir.join("public.pem"), public).unwrap();
        Sha256::digest(self.openssl("pkey -pubin -in public.pem -outform der")).into()
    }

    fn openssl(&self, args: &str) -> Vec<u8> {
        let output = Command::new(program("openssl", "openssl"))
            .args(args.split_whitespace())
            .current_dir(&self.dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Settings of a listener that takes only vehicles of this authority.
    pub(crate) fn listener(&self) -> String {
        let dir = self.dir.display();
        format!(
            "allow_anonymous true\ncafile {dir}/ca.pem\ncertfile {dir}/gateway.pem\nkeyfile {dir}/gateway.key\n\
             require_certificate true"
        )
    }

    pub(crate) fn client(&self, with_certificate: bool) -> TlsConfig {
        let file = |name: &str| self.dir.join(name);
        TlsConfig {
            cert_file: with_certificate.then(|| file("vehicle.pem")),
            key_file: with_certificate.then(|| file("vehicle.key")),
            ..TlsConfig::new(file("ca.pem"))
        }
    }

    pub(crate) fn foreign_ca(&self) -> PathBuf {
        self.dir.join("foreign.pem")
    }
}
