//! What the kernel says about a CAN interface (rtnetlink), and whether it may be listened on.
//!
//! A controller in its normal mode acknowledges each frame that it receives: it takes part in the bus
//! although nobody sends. Only listen-only mode disturbs nothing, so any other needs a permission.

use std::io;

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Arphrd, Iff, Ifla, IflaInfo, RtAddrFamily, Rtm};
use neli::consts::socket::NlFamily;
use neli::nl::{NlPayload, Nlmsghdr, NlmsghdrBuilder};
use neli::rtnl::{Ifinfomsg, IfinfomsgBuilder};
use neli::socket::synchronous::NlSocketHandle;
use neli::utils::Groups;
use nix::errno::Errno;
use socketcan::CanCtrlMode;
use socketcan::nl::{CanInterface, CanState};

use crate::event::BusState;

/// An interface as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// The kernel's number for it, which a socket is bound to.
    pub(super) index: u32,
    pub(super) up: bool,
    /// The driver's kind: `can`, `vcan`, …
    pub(super) kind: String,
    pub(super) listen_only: bool,
    pub(super) state: Option<BusState>,
    /// Transmit and receive error counters.
    pub(super) counters: Option<(u16, u16)>,
    pub(super) bitrate: Option<u32>,
    pub(super) data_bitrate: Option<u32>,
    /// Frames that the controller, its driver or the network core had no room for, since the interface exists.
    pub(super) overflow: u64,
}

impl Link {
    /// Asks the kernel about the interface called `name`; `None` when there is none.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(super) fn look(name: &str) -> io::Result<Option<Self>> {
        let index = match nix::net::if_::if_nametoindex(name) {
            Ok(index) => index,
            Err(Errno::ENODEV | Errno::ENXIO) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let Some(mut link) = query(index)? else { return Ok(None) };
        let can = CanInterface::open_iface(index).can_params().map_err(|error| io::Error::other(error.to_string()))?;
        link.listen_only = can.ctrl_mode.is_some_and(|modes| modes.has_mode(CanCtrlMode::ListenOnly));
        link.state = can.state.map(|state| match state {
            CanState::ErrorActive => BusState::ErrorActive,
            CanState::ErrorWarning => BusState::ErrorWarning,
            CanState::ErrorPassive => BusState::ErrorPassive,
            CanState::BusOff => BusState::BusOff,
            CanState::Stopped => BusState::Stopped,
            CanState::Sleeping => BusState::Sleeping,
        });
        link.counters = can.berr_counter.map(|counter| (counter.txerr, counter.rxerr));
        let rate = |timing: Option<u32>| timing.filter(|&rate| rate > 0);
        link.bitrate = rate(can.bit_timing.map(|timing| timing.bitrate));
        link.data_bitrate = rate(can.data_bit_timing.map(|timing| timing.bitrate));
        Ok(Some(link))
    }

    /// Whether listening on it disturbs nothing: it listens only, or there is no wire behind it.
    pub(super) fn is_passive(&self) -> bool {
        self.listen_only || matches!(self.kind.as_str(), "vcan" | "vxcan")
    }
}

/// One request, one answer.
fn query(index: u32) -> io::Result<Option<Link>> {
    let failed = |error: &dyn std::fmt::Display| io::Error::other(format!("netlink: {error}"));
    let socket = NlSocketHandle::connect(NlFamily::Route, None, Groups::empty()).map_err(|e| failed(&e))?;
    let ask = IfinfomsgBuilder::default()
        .ifi_family(RtAddrFamily::Unspecified)
        .ifi_type(Arphrd::Netrom)
        .ifi_index(i32::try_from(index).map_err(|e| failed(&e))?)
        .build()
        .map_err(|e| failed(&e))?;
    let request = NlmsghdrBuilder::default()
        .nl_type(Rtm::Getlink)
        .nl_flags(NlmF::REQUEST)
        .nl_payload(NlPayload::Payload(ask))
        .build()
        .map_err(|e| failed(&e))?;
    socket.send(&request).map_err(|e| failed(&e))?;
    let (mut answers, _) = socket.recv::<Rtm, Ifinfomsg>().map_err(|e| failed(&e))?;
    let answer = answers.next().transpose().map_err(|e| failed(&e))?;
    let payload = match answer.as_ref().map(Nlmsghdr::nl_payload) {
        Some(NlPayload::Payload(payload)) => payload,
        // It vanished in between.
        Some(NlPayload::Err(error)) if *error.error() == -libc::ENODEV => return Ok(None),
        _ => return Err(failed(&"no answer")),
    };
    let mut link = Link { index, up: payload.ifi_flags().contains(Iff::UP), ..Link::default() };
    for attribute in payload.rtattrs().iter() {
        match attribute.rta_type() {
            Ifla::Linkinfo => {
                let Ok(info) = attribute.get_attr_handle::<IflaInfo>() else { continue };
                if let Ok(kind) = info.get_attr_payload_as_with_len::<String>(IflaInfo::Kind) {
                    link.kind = kind;
                }
            }
            Ifla::Stats64 => link.overflow = overflow(attribute.rta_payload().as_ref()),
            _ => {}
        }
    }
    Ok(Some(link))
}

/// Sums what `struct rtnl_link_stats64` says about frames for which there was no room.
fn overflow(stats: &[u8]) -> u64 {
    const RX_DROPPED: usize = 6;
    const RX_OVER_ERRORS: usize = 11;
    const RX_FIFO_ERRORS: usize = 14;
    const RX_MISSED_ERRORS: usize = 15;
    let field = |i: usize| {
        let bytes = stats.get(8 * i..8 * i + 8).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    };
    [RX_DROPPED, RX_OVER_ERRORS, RX_FIFO_ERRORS, RX_MISSED_ERRORS].map(field).iter().fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listen_only_and_virtual_interfaces_are_passive() {
        let link = |kind: &str, listen_only| Link { kind: kind.into(), listen_only, ..Link::default() };
        assert!(
            link("can", true).is_passive() && link("vcan", false).is_passive() && link("vxcan", false).is_passive()
        );
        // In its normal mode a controller acknowledges; what kind an old slcan is, it does not say.
        assert!(
            !link("can", false).is_passive() && !link("slcan", false).is_passive() && !link("", false).is_passive()
        );
    }

    /// Every computer has one, though it is none for CAN.
    #[test]
    fn the_kernel_answers() {
        assert_eq!(Link::look("nosuchcan0").unwrap(), None);
        let lo = Link::look("lo").unwrap().unwrap();
        assert!(lo.index > 0 && !lo.is_passive() && lo.state.is_none() && lo.bitrate.is_none(), "{lo:?}");
    }

    #[test]
    fn overflows_are_summed() {
        let mut stats = [0u8; 24 * 8];
        for (i, value) in [(0usize, 1000u64), (6, 1), (11, 20), (14, 300), (15, 4000)] {
            stats[8 * i..8 * i + 8].copy_from_slice(&value.to_ne_bytes());
        }
        assert_eq!(overflow(&stats), 4321);
        assert_eq!(overflow(&stats[..100]), 21, "an older kernel's are shorter");
    }
}
