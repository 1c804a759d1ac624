//! Which Unix socket is connected with which: the kernel says it by netlink (sock_diag(7)), and
//! not in `/proc`.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

use super::escape::visible_bytes;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnixSocket {
    /// The inode of the other end.
    pub(crate) peer: Option<u32>,
    /// The socket's path, or `@` and its abstract name.
    pub(crate) name: Option<String>,
    pub(crate) listens: bool,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const AF_UNIX: u8 = 1;
const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;
const TCP_LISTEN: u8 = 10;
/// Of `struct nlmsghdr`, and of `struct unix_diag_msg`.
const HEADER: usize = 16;
const SOCKET: usize = 16;

/// All Unix sockets of this network namespace, by inode.
pub(crate) fn read() -> Result<BTreeMap<u64, UnixSocket>, String> {
    let socket = ask().map_err(|errno| format!("asking for Unix sockets by netlink: {errno}"))?;
    let mut found = BTreeMap::new();
    // The kernel puts at most 32 KiB into one answer.
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        let (len, _) = recv(&socket, &mut *buffer, RecvFlags::empty())
            .map_err(|errno| format!("hearing of Unix sockets by netlink: {errno}"))?;
        let answer = buffer.get(..len).unwrap_or_default();
        if answer.is_empty() {
            return Err("the list of Unix sockets ended early".into());
        }
        if parse(answer, &mut found)? {
            return Ok(found);
        }
    }
}

fn ask() -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    // struct nlmsghdr, and struct unix_diag_req: all states.
    let mut request = Vec::with_capacity(40);
    request.extend(40_u32.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([AF_UNIX, 0, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    request.extend((UDIAG_SHOW_NAME | UDIAG_SHOW_PEER).to_ne_bytes());
    request.extend([0; 8]);
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &request, SendFlags::empty(), &kernel)?;
    Ok(socket)
}

/// Reads one answer, which has several messages in it. `true`: that was the last.
fn parse(mut answer: &[u8], found: &mut BTreeMap<u64, UnixSocket>) -> Result<bool, String> {
    while let (Some(len), Some(kind)) = (word(answer, 0), half(answer, 4)) {
        let len = len as usize;
        let Some(message) = answer.get(HEADER..len) else {
            return Err("an answer about Unix sockets is cut off".into());
        };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = word(message, 0).map_or(0, |code| (code as i32).wrapping_neg());
                let error = std::io::Error::from_raw_os_error(code);
                return Err(format!("the kernel tells nothing of Unix sockets: {error}"));
            }
            _ => {
                if let (Some(inode), Some(state)) = (word(message, 4), message.get(2)) {
                    found.insert(u64::from(inode), socket(message, *state));
                }
            }
        }
        answer = answer.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn socket(message: &[u8], state: u8) -> UnixSocket {
    let mut found = UnixSocket {
        listens: state == TCP_LISTEN,
        ..UnixSocket::default()
    };
    let mut rest = message.get(SOCKET..).unwrap_or_default();
    // struct rtattr: its length with this header, its type.
    while let (Some(len), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let len = usize::from(len);
        let Some(value) = rest.get(4..len) else {
            break;
        };
        match kind {
            UNIX_DIAG_PEER => found.peer = word(value, 0).filter(|&peer| peer != 0),
            UNIX_DIAG_NAME => found.name = name(value),
            _ => {}
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn name(value: &[u8]) -> Option<String> {
    let value = match value {
        [0, name @ ..] => return Some(format!("@{}", visible_bytes(name))),
        [path @ .., 0] => path,
        path => path,
    };
    (!value.is_empty()).then(|| visible_bytes(value))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn inode(of: impl std::os::fd::AsFd) -> u64 {
        rustix::fs::fstat(of.as_fd()).unwrap().st_ino
    }

    #[test]
    fn the_peer_of_a_socket_is_found() {
        let (a, b) = UnixStream::pair().unwrap();
        let name = format!("/tmp/brigade-inspect-{}", std::process::id());
        let listener = UnixListener::bind(&name).unwrap();
        std::fs::remove_file(&name).unwrap();
        let all = read().unwrap();
        let (a, b) = (inode(a), inode(b));
        assert_eq!(all[&a].peer.map(u64::from), Some(b));
        assert_eq!(all[&b].peer.map(u64::from), Some(a));
        let listener = &all[&inode(listener.as_fd())];
        assert!(listener.listens);
        assert_eq!(listener.name.as_deref(), Some(name.as_str()));
    }

    #[test]
    fn an_answer_that_is_cut_off_is_an_error_and_no_panic() {
        let mut found = BTreeMap::new();
        for len in [0_u32, 3, 15, 17, 4000, u32::MAX] {
            let mut answer = len.to_ne_bytes().to_vec();
            answer.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            answer.extend([0; 14]);
            let _ = parse(&answer, &mut found);
        }
        assert_eq!(name(b"\0a\x1b"), Some(r"@a\u{1b}".into()));
        assert_eq!(name(b"/run/x\0"), Some("/run/x".into()));
        assert_eq!(name(b""), None);
    }
}
