//! Beside each link: what makes it worth making it anew. Certificates and keys that have changed, and another way to the
//! gateway.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::link::LinkMonitor;
use super::network::{Networks, Way};
use super::run::Shutdown;
use super::tls::{Credentials, Expiry};
use crate::event::Certificate;
use crate::event::clock::FLOOR_NS;
use crate::runtime::clock::wall_ns;

pub(super) const DAY_S: i64 = 86_400;

/// Looks after a gateway's certificates and keys.
pub(super) struct Watch {
    pub(super) host: String,
    pub(super) credentials: Arc<Credentials>,
    pub(super) monitor: Arc<LinkMonitor>,
    /// Rung when they have changed and can be used.
    pub(super) renewal: watch::Sender<()>,
    pub(super) every: Duration,
    pub(super) hide_subject: bool,
    /// Seconds before the end of one, that long a warning is due once a day.
    pub(super) warning: i64,
}

impl Watch {
    pub(super) async fn run(self, mut shutdown: Shutdown) {
        let mut warned: Option<Instant> = None;
        let day = Duration::from_secs(DAY_S.unsigned_abs());
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = shutdown.asked() => return,
            }
            if self.credentials.are_renewed(&self.host) {
                self.renewal.send_replace(());
            }
            let now_ns = wall_ns();
            // A clock that was not set would find everything good for years, or nothing.
            if now_ns >= FLOOR_NS && warned.is_none_or(|at| at.elapsed() >= day) {
                let now_s = i64::try_from(now_ns / 1_000_000_000).unwrap_or(i64::MAX);
                let expiries = self.credentials.expiries();
                for Expiry { what, name, not_after } in expiries {
                    if not_after.saturating_sub(now_s) < self.warning {
                        warned = Some(Instant::now());
                        let ends = u64::try_from(not_after).unwrap_or_default().saturating_mul(1_000_000_000);
                        let gateway = self.monitor.name().into();
                        // The vehicle's own has its name.
                        let name = if self.hide_subject && what == "cert_file" { String::new() } else { name };
                        self.monitor
                            .expires(Certificate { ends, name, what, gateway }, not_after.saturating_sub(now_s));
                    }
                }
            }
        }
    }
}

/// Looks which way leads to a gateway.
pub(super) struct Roam {
    pub(super) networks: Rc<Networks>,
    pub(super) host: String,
    /// The way that the link takes.
    pub(super) way: Rc<Cell<Way>>,
    /// Rung when there is another.
    pub(super) renewal: watch::Sender<()>,
    pub(super) every: Duration,
}

impl Roam {
    /// Takes note of the way that there is now. True: it is another one than before.
    pub(super) async fn look(&self) -> bool {
        let Some(way) = self.networks.towards(&self.host).await else { return false };
        self.way.replace(way) != way
    }

    pub(super) async fn run(self: Rc<Self>, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = shutdown.asked() => return,
            }
            if self.look().await {
                self.renewal.send_replace(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::network::{NetworkConfig, NetworkMonitor};
    use super::*;

    #[tokio::test]
    async fn another_way_is_noticed_and_a_host_that_is_not_found_is_none() {
        let config =
            NetworkConfig { interface: "lo".into(), bytes_per_day: None, bytes_per_s: None, classes: [true; 5] };
        let monitors = vec![Arc::new(NetworkMonitor::new(&config))];
        let networks = Networks::new(vec![config], monitors, None);
        let (renewal, _) = watch::channel(());
        let mut roam = Roam { networks, host: "127.0.0.1".into(), way: Rc::default(), renewal, every: Duration::ZERO };
        assert!(roam.look().await, "it was taken for free");
        assert!(!roam.look().await, "the same");
        let way = roam.way.get();
        roam.host = "no such host".into();
        assert!(!roam.look().await && roam.way.get() == way, "nobody knows");
    }
}
