//! SocketCAN: frames from the kernel's CAN interfaces, for years.
//!
//! * **Nothing is disturbed**: `passive` can only listen, and `bus` refuses what would take part in a
//!   bus by listening.
//! * **Nothing is missed silently**: the kernel counts what it drops (`receive`), drivers count what
//!   they lose, and a time without an interface is told (`bus`).
//! * **All buses on one thread**, in the order of their stamps (`order`).
//! * **Few calls**: after frames have come, the next ones may gather for a few milliseconds and are
//!   taken many at a time, so that a busy bus costs hundreds of calls a second, not ten thousands.

mod bus;
mod chatter;
mod interface;
mod order;
mod passive;
mod receive;
mod stamp;
mod sync;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use can_decoders::{BusId, CanId, Frame, XL_BYTES};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket;
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use thiserror::Error;

use self::bus::{BusOptions, LiveBus};
use self::order::{Order, Read};
use self::passive::{Listening, MAX_FILTERS};
use self::receive::Receiver;
pub(crate) use self::sync::clock_error_ns;
use super::{GATHER, Progress, Source, SourceError};
use crate::engine::{Catalog, Notice};
use crate::runtime::clock::{boot_ns, wall_ns};

/// A computer that was away for less did not sleep.
const SLEEP_NS: i64 = 500_000_000;
/// A change of any link makes all interfaces be looked at, but no more often than this.
const LINKS_LOOK: Duration = Duration::from_millis(100);
/// Bytes of the largest frame that is no CAN XL frame.
const FD_BYTES: usize = size_of::<libc::canfd_frame>();
/// Marks the descriptor that tells of changed links.
const LINKS: u64 = u64::MAX;

/// Why interfaces cannot be listened to.
#[derive(Debug, Error)]
pub enum SocketCanError {
    /// Opening it would take part in the bus.
    #[error(
        "CAN interface {interface} would acknowledge what it hears: set it to listen only (ip link set {interface} down; \
         ip link set {interface} type can listen-only on; ip link set {interface} up), or allow it with \
         allow_acknowledge = true in its [[bus]]"
    )]
    NotPassive {
        /// The interface.
        interface: String,
    },
    /// The system has no more descriptors, or forbids them.
    #[error("CAN interfaces: {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
}

/// How one bus is listened to, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Open it also where it would take part in the bus.
    pub allow_acknowledge: bool,
    /// Let only frames through that the DBC files describe.
    pub only_known: bool,
    /// Bytes of frames that the kernel keeps until they are read.
    pub receive_buffer: usize,
    /// Send CAN XL frames on as they are.
    pub forward_xl: bool,
    /// Somebody waits for what frames lead to: read them soon, and wait less for those of other buses. Of all buses, or of none.
    pub hasty: bool,
}

impl Default for Listen {
    fn default() -> Self {
        Self { allow_acknowledge: false, only_known: false, receive_buffer: 8 << 20, forward_xl: false, hasty: false }
    }
}

/// Frames gather no longer than this where somebody waits for what they lead to.
const HASTE: Duration = Duration::from_micros(300);

/// Several interfaces as one source.
pub struct SocketCan {
    buses: Vec<LiveBus>,
    /// Of each bus: whether `epoll` knows its socket, and how far it was read.
    watched: Vec<bool>,
    reads: Vec<Read>,
    epoll: Epoll,
    links: OwnedFd,
    links_changed: bool,
    links_looked: Instant,
    receiver: Receiver,
    order: Order,
    /// How long frames may gather before they are read.
    gather: Duration,
    notices: Vec<Notice>,
    /// The last reading has left something behind that need not be waited for.
    more: bool,
    last_read: Option<Instant>,
    last_ns: u64,
    /// The time that the computer was asleep since it was started, nanoseconds.
    asleep_ns: i64,
}

impl SocketCan {
    /// Opens the interfaces that the buses of `catalog` are named after; frames carry the buses' numbers. One that is
    /// not there or down is waited for.
    ///
    /// # Errors
    /// [`SocketCanError::NotPassive`] when one of them would take part in its bus.
    pub fn open(catalog: &Catalog, listen: &[Listen]) -> Result<Self, SocketCanError> {
        let system = |doing| move |errno: Errno| SocketCanError::System { doing, source: errno.into() };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(system("wait for frames"))?;
        let links = link_changes().map_err(system("watch for changes of links"))?;
        epoll.add(&links, EpollEvent::new(EpollFlags::EPOLLIN, LINKS)).map_err(system("watch for changes of links"))?;
        let (now, now_ns) = (Instant::now(), wall_ns());
        let wanted = options(catalog, listen);
        let buses: Vec<LiveBus> = wanted.map(|(id, options)| LiveBus::new(id, options, now)).collect();
        let mut source = Self {
            watched: vec![false; buses.len()],
            reads: Vec::with_capacity(buses.len()),
            order: Order::new(buses.len(), on_the_way_ns(listen)),
            gather: gather(listen),
            buses,
            epoll,
            links,
            links_changed: false,
            links_looked: now,
            receiver: Receiver::new(frame_bytes(listen)),
            notices: Vec::new(),
            more: false,
            last_read: None,
            last_ns: now_ns,
            asleep_ns: asleep_ns(),
        };
        source.look_at(now, now_ns, |_| true)?;
        Ok(source)
    }

    /// Looks at the buses that `due` picks, and waits for frames of those that are open now.
    fn look_at(&mut self, now: Instant, now_ns: u64, due: impl Fn(&LiveBus) -> bool) -> Result<(), SocketCanError> {
        let mut refused = Ok(());
        for i in 0..self.buses.len() {
            if due(&self.buses[i]) {
                let looked = self.buses[i].look(now, now_ns, &mut self.notices);
                refused = refused.and(looked);
                self.watch(i);
            }
        }
        refused
    }

    /// Keeps the kernel's list of descriptors as the bus is. A closed one leaves the list by itself.
    fn watch(&mut self, i: usize) {
        match (self.buses[i].socket(), self.watched[i]) {
            (Some(socket), false) => match socket.watch(&self.epoll, i as u64) {
                Ok(()) => self.watched[i] = true,
                // It is read all the same, if later.
                Err(error) => self.buses[i].warn(Instant::now(), &format!("cannot be waited for: {error}")),
            },
            (None, true) => self.watched[i] = false,
            _ => {}
        }
    }

    /// Waits until something is pending, a look is due, or `max_wait` is over.
    fn wait(&mut self, max_wait: Duration) -> Result<(), SourceError> {
        let mut until = Instant::now() + max_wait;
        if !self.order.is_empty() {
            until = until.min(Instant::now() + self.order.on_the_way());
        }
        if self.links_changed {
            until = until.min(self.links_looked + LINKS_LOOK);
        }
        until = self.buses.iter().map(LiveBus::next_look).fold(until, Instant::min);
        let wait = if self.more { Duration::ZERO } else { until.saturating_duration_since(Instant::now()) };
        let timeout = if self.gather == HASTE && !self.order.is_empty() && wait < Duration::from_millis(1) {
            // Frames that wait for those of another bus, not for what may come.
            std::thread::sleep(wait);
            EpollTimeout::ZERO
        } else {
            // Rounded up: a wait of less than a millisecond would spin.
            EpollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(EpollTimeout::ZERO)
        };
        let mut events = [EpollEvent::empty(); 16];
        let ready = match self.epoll.wait(&mut events, timeout) {
            Ok(n) => n,
            Err(Errno::EINTR) => 0,
            Err(errno) => {
                let system = SocketCanError::System { doing: "wait for frames", source: errno.into() };
                return Err(system.into());
            }
        };
        let changed = events[..ready].iter().any(|event| event.data() == LINKS);
        if changed {
            // What exactly has changed does not matter: all interfaces are looked at.
            let mut bytes = [0u8; 8192];
            while socket::recv(self.links_fd(), &mut bytes, socket::MsgFlags::MSG_DONTWAIT).is_ok_and(|n| n > 0) {}
            self.links_changed = true;
        }
        if ready > usize::from(changed)
            && !self.more
            && let Some(last) = self.last_read
        {
            let early = (last + self.gather).saturating_duration_since(Instant::now());
            if !early.is_zero() {
                std::thread::sleep(early.min(max_wait));
            }
        }
        Ok(())
    }

    fn links_fd(&self) -> i32 {
        std::os::fd::AsRawFd::as_raw_fd(&self.links)
    }

    /// Tells of a time in which the computer slept.
    fn notice_sleep(&mut self, now_ns: u64) {
        let asleep_ns = asleep_ns();
        if asleep_ns - self.asleep_ns >= SLEEP_NS {
            for bus in &self.buses {
                bus.slept(self.last_ns, now_ns, &mut self.notices);
            }
        }
        // The two clocks are read one after the other.
        self.asleep_ns = self.asleep_ns.max(asleep_ns);
    }
}

impl Source for SocketCan {
    fn read(&mut self, batch: &mut Vec<Frame>, max_wait: Duration) -> Result<Progress, SourceError> {
        self.wait(max_wait)?;
        let (now, now_ns) = (Instant::now(), wall_ns());
        self.last_read = Some(now);
        self.notice_sleep(now_ns);

        self.reads.clear();
        for i in 0..self.buses.len() {
            let room = self.order.room(i);
            let order = &mut self.order;
            let each = |frame| order.push(frame);
            self.reads.push(self.buses[i].take(&mut self.receiver, room, (now, now_ns), &mut self.notices, each));
            self.watch(i);
        }
        let links_changed = self.links_changed && now >= self.links_looked + LINKS_LOOK;
        if links_changed {
            (self.links_changed, self.links_looked) = (false, now);
        }
        // A bus that may not be opened as it came back stays lost; that has been told.
        let _ = self.look_at(now, now_ns, |bus| links_changed || bus.next_look() <= now);
        self.last_ns = now_ns;
        // The clock as it is after the reading: no frame that was read is ahead of it.
        let now_ns = self.order.release(batch, &self.reads, wall_ns());
        self.more = batch.len() == batch.capacity() || self.reads.iter().any(|read| matches!(read, Read::UpTo(_)));
        Ok(Progress { now_ns, ended: false })
    }

    fn is_live(&self) -> bool {
        true
    }

    fn notices(&mut self, out: &mut Vec<Notice>) {
        out.append(&mut self.notices);
    }

    fn reconfigure(
        &mut self,
        catalog: &Catalog,
        listen: &[Listen],
        rest: &mut Vec<Frame>,
        out: &mut Vec<Notice>,
    ) -> Result<(), SourceError> {
        let (now, now_ns) = (Instant::now(), wall_ns());
        // What can be refused comes first. Interfaces that are new are opened, and closed again if another is refused.
        let (mut news, mut fresh) = (Vec::new(), Vec::new());
        for (id, options) in options(catalog, listen) {
            match self.buses.iter().position(|bus| bus.interface() == options.interface) {
                Some(i) => self.buses[i].check(&options)?,
                None => {
                    let mut bus = LiveBus::new(id, options, now);
                    bus.look(now, now_ns, &mut news)?;
                    fresh.push(bus);
                }
            }
        }
        // What has come for a bus that is not wanted any more is the old engine's. Its kernel buffer does not hold more.
        let wanted = |bus: &LiveBus| catalog.buses().iter().any(|wanted| &*wanted.name == bus.interface());
        for bus in self.buses.iter_mut().filter(|bus| !wanted(bus)) {
            let order = &mut self.order;
            let all = usize::from(u16::MAX);
            bus.take(&mut self.receiver, all, (now, now_ns), &mut self.notices, |frame| order.push(frame));
        }
        self.order.rest(rest);
        out.append(&mut self.notices);
        let mut before = std::mem::take(&mut self.buses);
        for (id, options) in options(catalog, listen) {
            let is_it = |bus: &LiveBus| bus.interface() == options.interface;
            let bus = match before.iter().position(is_it) {
                Some(i) => before.remove(i).reconfigured(id, options, (now, now_ns), out, &mut news),
                // It is there: made above.
                None => fresh.remove(fresh.iter().position(is_it).unwrap_or(0)),
            };
            self.buses.push(bus);
        }
        // What is left is not wanted any more.
        before.iter_mut().for_each(|bus| bus.finish(now_ns, out));
        drop(before);
        self.notices = news;
        self.order = Order::new(self.buses.len(), on_the_way_ns(listen));
        self.gather = gather(listen);
        self.receiver = Receiver::new(frame_bytes(listen));
        // Their places have changed, and with them the marks by which they are told apart.
        for socket in self.buses.iter().filter_map(LiveBus::socket) {
            socket.unwatch(&self.epoll);
        }
        self.watched = vec![false; self.buses.len()];
        (0..self.buses.len()).for_each(|i| self.watch(i));
        self.more = true;
        Ok(())
    }

    fn finish(&mut self, rest: &mut Vec<Frame>, out: &mut Vec<Notice>) {
        self.order.rest(rest);
        for bus in &mut self.buses {
            bus.finish(wall_ns(), &mut self.notices);
        }
        self.notices(out);
    }
}

/// How the buses of a catalog are listened to.
fn options<'a>(catalog: &'a Catalog, listen: &'a [Listen]) -> impl Iterator<Item = (BusId, BusOptions)> + 'a {
    catalog.buses().iter().zip(0u8..).enumerate().map(|(i, (bus, number))| {
        let listen = listen.get(i).cloned().unwrap_or_default();
        let only = if listen.only_known { known(catalog, i) } else { Vec::new() };
        let listening = Listening { receive_buffer: listen.receive_buffer, only, forward_xl: listen.forward_xl };
        let interface = bus.name.to_string();
        (BusId(number), BusOptions { interface, allow_acknowledge: listen.allow_acknowledge, listening })
    })
}

fn gather(listen: &[Listen]) -> Duration {
    if listen.iter().any(|listen| listen.hasty) { HASTE } else { GATHER }
}

fn on_the_way_ns(listen: &[Listen]) -> u64 {
    if listen.iter().any(|listen| listen.hasty) { order::HASTE_NS } else { order::ON_THE_WAY_NS }
}

/// Room for a frame.
fn frame_bytes(listen: &[Listen]) -> usize {
    if listen.iter().any(|listen| listen.forward_xl) { XL_BYTES } else { FD_BYTES }
}

/// A socket that is told when a link changes.
fn link_changes() -> Result<OwnedFd, Errno> {
    use socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType};
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let links = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    let group = u32::try_from(libc::RTMGRP_LINK).unwrap_or(1);
    socket::bind(std::os::fd::AsRawFd::as_raw_fd(&links.as_fd()), &NetlinkAddr::new(0, group))?;
    Ok(links)
}

/// Since the computer was started: how long it was asleep.
fn asleep_ns() -> i64 {
    let awake_ns = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| time.num_nanoseconds());
    i64::try_from(boot_ns()).unwrap_or(0) - awake_ns
}

/// The identifiers that a bus's DBC files describe, each with the bits that count, for the kernel's filters; none, that is
/// all, when there are too many.
fn known(catalog: &Catalog, bus: usize) -> Vec<(CanId, u32)> {
    let bus = &catalog.buses()[bus];
    let known: Vec<(CanId, u32)> =
        bus.plan.messages().iter().map(|message| (message.id, message.fixed_bits())).collect();
    if known.len() > MAX_FILTERS {
        tracing::warn!(
            "CAN interface {}: only_known: {} messages are more than the {MAX_FILTERS} that the kernel can filter; all \
             frames are taken",
            bus.name,
            known.len()
        );
        return Vec::new();
    }
    known
}
