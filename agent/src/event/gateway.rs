//! Bodies of the events that tell how the links to the gateways do.

use std::sync::Arc;

use serde::Serialize;

use super::Class;

/// Body of kind `gateway`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayState {
    /// The class that it refuses.
    pub class: Option<Class>,
    /// `carries`: events go there, and did not before. `refuses`: it takes no events of a class.
    pub state: &'static str,
    /// What was wrong with the gateways that carried before; or why it refuses, in its words.
    pub reason: String,
    /// Its name in the configuration.
    pub gateway: Arc<str>,
}

/// Body of kind `certificate`: told once a day while its end is near.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The last moment at which it is valid, nanoseconds since the Unix epoch.
    pub ends: u64,
    /// Whose it is: the subject of a certificate, the issuer of a revocation list.
    pub name: String,
    /// `cert_file`, `ca_file`, `crl_file`, or `gateway` for the certificate that the gateway shows.
    pub what: &'static str,
    /// The gateway's name in the configuration.
    pub gateway: Arc<str>,
}
