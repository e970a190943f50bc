//! Networks with budgets: a metered modem, a free Wi-Fi.
//!
//! Which network a link uses is what the kernel's routes say of its gateway, looked at before each connection and every
//! few seconds: when another one offers itself, the link is made anew over that. What a network may carry, today and now,
//! is for its `account` to say; what it has carried, the kernel (`sockets`). What is left of the day's volume is noted in a
//! small file, so that a restart does not make a new day of it.

mod account;
mod sockets;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::account::Account;
pub(crate) use self::account::Permits;
use super::run::Shutdown;
use crate::runtime::clock::wall_ns;

/// How often it is looked what was sent.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How often what is left is written down.
const NOTE_EVERY: Duration = Duration::from_secs(600);
/// How long the name of a gateway may be looked up.
const LOOKUP: Duration = Duration::from_secs(5);
/// Routes are the same for all.
const ANY_PORT: u16 = 1;
/// A longer note is not ours.
const MAX_NOTE: u64 = 64 << 10;

/// What a network may carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The names of its interfaces; a `*` at the end stands for any end.
    pub interface: Arc<str>,
    /// Bytes a day, both ways, with all headers; `None`: as many as there are.
    pub bytes_per_day: Option<u64>,
    /// Bytes a second, sent.
    pub bytes_per_s: Option<u64>,
    /// By class rank: whether it is for events of the class.
    pub classes: [bool; 5],
}

impl NetworkConfig {
    fn fits(&self, interface: &str) -> bool {
        match self.interface.strip_suffix('*') {
            Some(start) => interface.starts_with(start),
            None => interface == &*self.interface,
        }
    }
}

/// What a network has carried, for whoever wants to look.
#[derive(Debug)]
pub struct NetworkMonitor {
    /// As configured.
    pub interface: Arc<str>,
    used: AtomicU64,
    left: AtomicI64,
}

impl NetworkMonitor {
    pub(crate) fn new(config: &NetworkConfig) -> Self {
        Self { interface: config.interface.clone(), used: AtomicU64::new(0), left: AtomicI64::new(i64::MAX) }
    }

    fn tell(&self, account: &Account, used: u64) {
        self.used.fetch_add(used, Ordering::Relaxed);
        self.left.store(account.left().unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Bytes sent and received since the start of the process.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that may still be used today, below zero when it was overdrawn; `None` when there is no bound, or it is not
    /// known yet.
    pub fn left(&self) -> Option<i64> {
        Some(self.left.load(Ordering::Relaxed)).filter(|left| *left != i64::MAX)
    }
}

/// The networks and their accounts; empty when none has a budget.
pub(crate) struct Networks {
    configs: Vec<NetworkConfig>,
    accounts: RefCell<Vec<Account>>,
    monitors: Vec<Arc<NetworkMonitor>>,
    note: Option<PathBuf>,
}

/// The network that a link takes; `None`: one without a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Way(Option<usize>);

/// What is written down: bytes left by network, and when that was.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Nanoseconds since the Unix epoch.
    at: u64,
    left: BTreeMap<String, i64>,
}

impl Networks {
    pub(crate) fn new(
        configs: Vec<NetworkConfig>,
        monitors: Vec<Arc<NetworkMonitor>>,
        note: Option<PathBuf>,
    ) -> Rc<Self> {
        let now = Instant::now();
        let accounts = RefCell::new(configs.iter().map(|config| Account::new(config.clone(), now)).collect());
        let this = Self { configs, accounts, monitors, note };
        if let Err(error) = this.recall() {
            tracing::warn!("what is left of the networks' budgets is not known, a whole day is: {error}");
        }
        for (account, monitor) in this.accounts.borrow().iter().zip(&this.monitors) {
            monitor.tell(account, 0);
        }
        Rc::new(this)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.configs.is_empty()
    }

    /// The network that the kernel would take to the host; `None`: nobody knows now.
    pub(crate) async fn towards(&self, host: &str) -> Option<Way> {
        let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, ANY_PORT))).await.ok()?.ok()?;
        let local = found.into_iter().find_map(|address| local_address(address).ok())?;
        Some(Way(self.with_address(local)))
    }

    /// The network with an interface that has this address.
    fn with_address(&self, local: IpAddr) -> Option<usize> {
        let interface = interface_of(local)?;
        self.configs.iter().position(|config| config.fits(&interface))
    }

    /// Which classes may go over a network now.
    pub(crate) fn permits(&self, Way(network): Way, now: Instant) -> Permits {
        let Some(network) = network else { return Permits::ALL };
        self.accounts.borrow_mut().get_mut(network).map_or(Permits::ALL, |account| account.permits(now))
    }

    /// So many bytes were handed over to a network.
    pub(crate) fn handed(&self, Way(network): Way, bytes: usize) {
        if let Some(network) = network
            && let Some(account) = self.accounts.borrow_mut().get_mut(network)
        {
            account.handed(bytes);
        }
    }

    /// A connection over it has ended.
    pub(crate) fn closed(&self, Way(network): Way) {
        if let Some(network) = network
            && let Some(account) = self.accounts.borrow_mut().get_mut(network)
        {
            account.closed();
        }
    }

    /// Measures what the networks carry, until shutdown.
    pub(crate) async fn watch(self: Rc<Self>, mut shutdown: Shutdown) {
        let (mut seen, mut noted, mut told) = (HashMap::new(), Instant::now(), false);
        let mut ended = false;
        while !ended {
            tokio::select! {
                () = tokio::time::sleep(MEASURE_EVERY) => {}
                () = shutdown.asked() => ended = true,
            }
            // At the end the sockets are closed, and what they have sent since is only estimated.
            if !ended
                && let Err(error) = self.measure(&mut seen)
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!("networks: {error}; their use is estimated by the size of what is sent");
            }
            if ended || noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                if let Err(error) = self.note() {
                    tracing::warn!("networks: what is left of the day cannot be noted: {error}");
                }
            }
        }
    }

    /// What was sent and received since `seen`, by socket.
    fn measure(&self, seen: &mut HashMap<u32, (u64, u64)>) -> io::Result<()> {
        let sockets = sockets::own()?;
        let mut sums = vec![(0_u64, 0_u64); self.configs.len()];
        for socket in &sockets {
            let before = seen.insert(socket.inode, (socket.sent, socket.received)).unwrap_or_default();
            let Some(sum) = self.with_address(socket.local).and_then(|network| sums.get_mut(network)) else { continue };
            // An inode may come again, with another socket.
            let grown = |now: u64, before: u64| if now >= before { now - before } else { now };
            sum.0 += grown(socket.sent, before.0);
            sum.1 += grown(socket.received, before.1);
        }
        seen.retain(|inode, _| sockets.iter().any(|socket| socket.inode == *inode));
        let now = Instant::now();
        let accounts = &mut *self.accounts.borrow_mut();
        for ((account, monitor), (sent, received)) in accounts.iter_mut().zip(&self.monitors).zip(sums) {
            account.measured(sent, received, now);
            monitor.tell(account, sent + received);
        }
        Ok(())
    }

    fn recall(&self) -> io::Result<()> {
        use std::io::Read;
        let Some(path) = &self.note else { return Ok(()) };
        let mut text = String::new();
        match std::fs::File::open(path) {
            Ok(file) => file.take(MAX_NOTE).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let note: Note = serde_json::from_str(&text)?;
        let ago = Duration::from_nanos(wall_ns().saturating_sub(note.at));
        for (config, account) in self.configs.iter().zip(&mut *self.accounts.borrow_mut()) {
            if let Some(left) = note.left.get(&*config.interface) {
                account.resume(*left, ago);
            }
        }
        Ok(())
    }

    /// Replaced as a whole: a power cut leaves the one of before.
    fn note(&self) -> io::Result<()> {
        let Some(path) = &self.note else { return Ok(()) };
        let of = |(config, account): (&NetworkConfig, &Account)| Some((config.interface.to_string(), account.left()?));
        let left = self.configs.iter().zip(&*self.accounts.borrow()).filter_map(of).collect();
        let new = path.with_extension("new");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        serde_json::to_writer(&mut file, &Note { at: wall_ns(), left })?;
        file.sync_all()?;
        std::fs::rename(new, path)
    }
}

/// The address from which the kernel would send there. Nothing is sent.
fn local_address(to: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

/// The interface that has this address.
fn interface_of(address: IpAddr) -> Option<String> {
    let has_it = |entry: &nix::ifaddrs::InterfaceAddress| {
        let storage = entry.address.as_ref();
        let v4 = storage.and_then(|s| s.as_sockaddr_in()).map(|s| IpAddr::V4(s.ip()));
        let v6 = storage.and_then(|s| s.as_sockaddr_in6()).map(|s| IpAddr::V6(s.ip()));
        v4.or(v6) == Some(address)
    };
    let found = nix::ifaddrs::getifaddrs().ok()?.find(has_it)?;
    // `wlan0:1` is a second address of `wlan0`.
    found.interface_name.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(interface: &str) -> NetworkConfig {
        NetworkConfig {
            interface: interface.into(),
            bytes_per_day: Some(1_000_000),
            bytes_per_s: None,
            classes: [true; 5],
        }
    }

    fn networks(configs: Vec<NetworkConfig>, note: Option<PathBuf>) -> Rc<Networks> {
        let monitors = configs.iter().map(|config| Arc::new(NetworkMonitor::new(config))).collect();
        Networks::new(configs, monitors, note)
    }

    #[test]
    fn the_first_that_fits_is_meant() {
        let networks = networks(vec![config("wwan*"), config("l*"), config("lo")], None);
        assert!(config("wwan*").fits("wwan0") && !config("wwan*").fits("wlan0") && !config("lo").fits("lo0"));
        assert_eq!(networks.with_address([127, 0, 0, 1].into()), Some(1));
        assert_eq!(networks.with_address([203, 0, 113, 77].into()), None, "an address that nobody has");
    }

    #[tokio::test]
    async fn the_kernel_knows_the_way() {
        let networks = networks(vec![config("lo")], None);
        assert_eq!(networks.towards("127.0.0.1").await, Some(Way(Some(0))));
        assert_eq!(networks.towards("no such host").await, None);
    }

    #[test]
    fn what_is_left_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("networks");
        let first = networks(vec![config("wwan*"), config("lo")], Some(path.clone()));
        first.accounts.borrow_mut()[0].measured(700_000, 0, Instant::now());
        first.note().unwrap();
        let second = networks(vec![config("lo"), config("wwan*")], Some(path.clone()));
        let left = |networks: &Networks, n: usize| networks.accounts.borrow()[n].left().unwrap();
        assert!((300_000..300_100).contains(&left(&second, 1)), "{}", left(&second, 1));
        assert_eq!(left(&second, 0), 1_000_000);
        // Damaged, it is as if there were none.
        for bad in ["", "{", "{\"at\":1,\"left\":{\"wwan*\":\"x\"}}"] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(left(&networks(vec![config("wwan*")], Some(path.clone())), 0), 1_000_000);
        }
    }
}
