//! What the kernel has sent and received on this process's TCP connections (`sock_diag`, which `ss` asks, too).
//!
//! Neither client library shows its socket, and neither knows of headers and repetitions; the kernel does. It is asked for
//! all TCP sockets; those of this process are told by their inodes.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use neli::consts::nl::NlmF;
use neli::consts::socket::NlFamily;
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::socket::synchronous::NlSocketHandle;
use neli::types::Buffer;
use neli::utils::Groups;

/// `SOCK_DIAG_BY_FAMILY`, linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `INET_DIAG_INFO`, linux/inet_diag.h.
const INFO: u16 = 2;
const TCP: u8 = 6;
/// All but those that listen, and those that are over (linux/tcp_states.h).
const STATES: u32 = 0b0001_0011_1111;
/// Bytes of `struct inet_diag_msg`, before the attributes.
const MESSAGE: usize = 72;
/// Of a segment's IP and TCP headers, with the time stamp option.
const HEADERS: (u64, u64) = (52, 72);

/// A connection of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) inode: u32,
    pub(super) local: IpAddr,
    /// Bytes since it was made, with headers.
    pub(super) sent: u64,
    /// As `sent`.
    pub(super) received: u64,
}

/// All connections of this process.
///
/// # Errors
/// When the kernel cannot say, for example because it was built without `CONFIG_INET_DIAG`.
pub(super) fn own() -> io::Result<Vec<Socket>> {
    let own = inodes()?;
    let mut all = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        all.extend(of_family(u8::try_from(family).unwrap_or(0))?.into_iter().filter(|s| own.contains(&s.inode)));
    }
    Ok(all)
}

/// The inodes of this process's sockets.
fn inodes() -> io::Result<BTreeSet<u32>> {
    let links = std::fs::read_dir("/proc/self/fd")?.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let inode = |link: std::path::PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    Ok(links.filter_map(inode).collect())
}

fn of_family(family: u8) -> io::Result<Vec<Socket>> {
    let failed = |error: &dyn std::fmt::Display| io::Error::other(format!("sock_diag: {error}"));
    let socket = NlSocketHandle::connect(NlFamily::SockOrInetDiag, None, Groups::empty()).map_err(|e| failed(&e))?;
    // struct inet_diag_req_v2: family, protocol, attributes wanted, padding, states, which (all).
    let mut ask = vec![family, TCP, 1 << (INFO - 1), 0];
    ask.extend_from_slice(&STATES.to_ne_bytes());
    ask.resize(56, 0);
    let request = NlmsghdrBuilder::default()
        .nl_type(BY_FAMILY)
        .nl_flags(NlmF::REQUEST | NlmF::DUMP)
        .nl_payload(NlPayload::Payload(Buffer::from(ask)))
        .build()
        .map_err(|e| failed(&e))?;
    socket.send(&request).map_err(|e| failed(&e))?;
    let mut found = Vec::new();
    loop {
        let (answers, _) = socket.recv::<u16, Buffer>().map_err(|e| failed(&e))?;
        let mut any = false;
        for answer in answers {
            any = true;
            match answer.map_err(|e| failed(&e))?.nl_payload() {
                NlPayload::Payload(bytes) => found.extend(parse(bytes.as_ref())),
                NlPayload::Err(error) => return Err(failed(&error)),
                // The end.
                NlPayload::Ack(_) | NlPayload::Empty | NlPayload::DumpExtAck(_) => return Ok(found),
            }
        }
        if !any {
            return Ok(found);
        }
    }
}

/// `struct inet_diag_msg` and its attributes.
fn parse(message: &[u8]) -> Option<Socket> {
    let (head, mut rest) = message.split_at_checked(MESSAGE)?;
    let local: &[u8; 16] = head.get(8..24)?.try_into().ok()?;
    let (local, headers) = match i32::from(head[0]) {
        libc::AF_INET => (IpAddr::V4(Ipv4Addr::new(local[0], local[1], local[2], local[3])), HEADERS.0),
        libc::AF_INET6 => (IpAddr::V6(Ipv6Addr::from(*local)), HEADERS.1),
        _ => return None,
    };
    let inode = u32::from_ne_bytes(head.get(68..72)?.try_into().ok()?);
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let payload = rest.get(4..length)?;
        if kind == INFO {
            // struct tcp_info, which only ever grows at its end.
            let wide = |at: usize| Some(u64::from_ne_bytes(payload.get(at..at + 8)?.try_into().ok()?));
            let narrow = |at: usize| Some(u64::from(u32::from_ne_bytes(payload.get(at..at + 4)?.try_into().ok()?)));
            let (acked, received) = (wide(120)?, wide(128)?);
            let (segments_out, segments_in) = (narrow(136)?, narrow(140)?);
            // With repetitions, where the kernel (from 4.19) counts them.
            let sent = wide(200).unwrap_or(acked);
            let (sent, received) = (sent + headers * segments_out, received + headers * segments_in);
            return Some(Socket { inode, local, sent, received });
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_counts_what_we_send() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut there, _) = listener.accept().unwrap();
            here.write_all(&[7; 100_000]).unwrap();
            let mut all = vec![0; 100_000];
            there.read_exact(&mut all).unwrap();
            let local = here.local_addr().unwrap().ip();
            let found = own().unwrap();
            let of = |sent: bool| {
                let count = |s: &&Socket| {
                    s.local == local && (100_000..110_000).contains(if sent { &s.sent } else { &s.received })
                };
                found.iter().filter(count).count()
            };
            // Other tests have theirs.
            assert!(of(true) >= 1 && of(false) >= 1, "{found:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_odd_is_none() {
        assert_eq!(parse(&[]), None);
        let mut message = vec![0; MESSAGE + 4 + 232];
        message[0] = u8::try_from(libc::AF_INET).unwrap();
        message[8..12].copy_from_slice(&[10, 0, 0, 1]);
        message[68..72].copy_from_slice(&77_u32.to_ne_bytes());
        message[72..74].copy_from_slice(&236_u16.to_ne_bytes());
        message[74..76].copy_from_slice(&INFO.to_ne_bytes());
        let info = MESSAGE + 4;
        message[info + 128..info + 136].copy_from_slice(&1000_u64.to_ne_bytes());
        message[info + 136..info + 140].copy_from_slice(&2_u32.to_ne_bytes());
        message[info + 140..info + 144].copy_from_slice(&1_u32.to_ne_bytes());
        message[info + 200..info + 208].copy_from_slice(&500_u64.to_ne_bytes());
        let local = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(parse(&message), Some(Socket { inode: 77, local, sent: 604, received: 1052 }));
        for end in 0..message.len() {
            assert!(parse(&message[..end]).is_none(), "{end}");
        }
        // No attribute, and one without a length, which would never end.
        message[72..74].copy_from_slice(&0_u16.to_ne_bytes());
        assert_eq!(parse(&message), None);
    }
}
