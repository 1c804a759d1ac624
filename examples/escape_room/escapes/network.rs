//! Other machines, and sockets of other programs.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

use brigade::sandbox::Effect::Network;

use super::{Escape, Outside, call};

pub(super) const ESCAPES: &[Escape] = &[
    Escape::new(Network, "connect over TCP", |o| {
        TcpStream::connect((Ipv4Addr::LOCALHOST, o.tcp))?.write_all(b"x")
    }),
    Escape::new(Network, "connect over TCP by sending", fast_open),
    Escape::new(Network, "connect over MPTCP", multipath).privileged(),
    Escape::new(Network, "listen over TCP", |_| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop)
    }),
    Escape::new(Network, "listen over TCP where the kernel likes", |_| {
        let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)?;
        call!(SYS_listen, socket, 1).map(drop)
    }),
    Escape::new(Network, "send over UDP", |o| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.send_to(b"x", (Ipv4Addr::LOCALHOST, o.udp)).map(drop)
    }),
    Escape::new(Network, "a raw socket", |_| {
        socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)
    })
    .privileged(),
    Escape::new(Network, "a socket of the link layer", |_| {
        socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
    })
    .privileged(),
    Escape::new(Network, "a socket to the kernel", |_| {
        socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)
    }),
    Escape::new(Network, "a socket to the machine's host", |_| {
        socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)
    })
    .privileged(),
    Escape::new(Network, "a socket to the kernel's ciphers", |_| {
        socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)
    })
    .privileged(),
    Escape::new(Network, "connect to a socket on a path", |o| {
        UnixStream::connect(&o.path)?.write_all(b"x")
    }),
    Escape::new(Network, "connect to a socket without a path", |o| {
        let address = SocketAddr::from_abstract_name(&o.name)?;
        UnixStream::connect_addr(&address)?.write_all(b"x")
    }),
    Escape::new(Network, "send a datagram to a socket on a path", |o| {
        UnixDatagram::unbound()?
            .send_to(b"x", &o.datagrams)
            .map(drop)
    }),
    Escape::new(Network, "send a datagram from one of a pair", |o| {
        let (one, _other) = UnixDatagram::pair()?;
        one.send_to(b"x", &o.datagrams).map(drop)
    }),
    Escape::new(Network, "send a datagram from one of a raw pair", |o| {
        // They are made as datagrams' are.
        let mut pair = [0_i32; 2];
        let kind = libc::SOCK_RAW;
        call!(SYS_socketpair, libc::AF_UNIX, kind, 0, pair.as_mut_ptr())?;
        // SAFETY: one that was just made.
        let one = unsafe { UnixDatagram::from_raw_fd(pair[0]) };
        one.send_to(b"x", &o.datagrams).map(drop)
    }),
    Escape::new(Network, "a socket of any family", any_socket),
    Escape::new(Network, "the network of a new namespace", |_| {
        call!(SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNET).map(drop)
    })
    .privileged(),
    Escape::new(Network, "another's network namespace", |o| {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", o.host))?;
        call!(SYS_setns, namespace.as_raw_fd(), libc::CLONE_NEWNET).map(drop)
    })
    .privileged(),
];

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<()> {
    call!(SYS_socket, family, kind, protocol).map(drop)
}

/// One of all that there are.
fn any_socket(_: &Outside) -> io::Result<()> {
    const KINDS: [i32; 4] = [
        libc::SOCK_STREAM,
        libc::SOCK_DGRAM,
        libc::SOCK_RAW,
        libc::SOCK_SEQPACKET,
    ];
    let mut tried = Ok(());
    for family in libc::AF_UNIX..46 {
        for kind in KINDS {
            tried = socket(family, kind, 0);
            if tried.is_ok() {
                return tried;
            }
        }
    }
    tried
}

fn address(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// TCP's fast open: what is sent makes the connection, and no connect(2) is seen.
fn fast_open(outside: &Outside) -> io::Result<()> {
    let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let to = address(outside.tcp);
    let len = size_of_val(&to);
    let data = b"x".as_ptr();
    call!(
        SYS_sendto,
        socket,
        data,
        1,
        libc::MSG_FASTOPEN,
        &raw const to,
        len
    )
    .map(drop)
}

fn multipath(outside: &Outside) -> io::Result<()> {
    const IPPROTO_MPTCP: i32 = 262;
    let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, IPPROTO_MPTCP)?;
    let to = address(outside.tcp);
    call!(SYS_connect, socket, &raw const to, size_of_val(&to)).map(drop)
}
