//! Which TCP socket is connected with which: `/proc/PID/net/tcp` and `tcp6`, of the network
//! namespace of that process.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::proc_dir::{Hidden, ProcDir};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpSocket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) listens: bool,
}

/// All TCP sockets of a process's network namespace, by inode.
pub(crate) fn read(dir: &ProcDir) -> Result<BTreeMap<u64, TcpSocket>, Hidden> {
    let mut sockets = parse(&dir.text("net/tcp")?);
    match dir.text("net/tcp6") {
        Ok(text) => sockets.extend(parse(&text)),
        // A kernel without version 6.
        Err(Hidden::Ended) => {}
        Err(why) => return Err(why),
    }
    Ok(sockets)
}

fn parse(text: &str) -> BTreeMap<u64, TcpSocket> {
    let sockets = text.lines().skip(1).filter_map(parse_line);
    // Those that no process has any more have the number 0.
    sockets.filter(|(inode, _)| *inode != 0).collect()
}

fn parse_line(line: &str) -> Option<(u64, TcpSocket)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    let socket = TcpSocket {
        local,
        remote,
        listens: state == 10,
    };
    Some((inode, socket))
}

/// `0100007F:1F90`: words of 32 bits as they lie in memory, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    if !address.is_ascii() {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            // One of version 4 that a socket of version 6 has is the same address.
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_versions_are_read() {
        let v4 = address("0100007F:1F90").unwrap();
        assert_eq!(v4, "127.0.0.1:8080".parse().unwrap());
        let v6 = address("00000000000000000000000001000000:0050").unwrap();
        assert_eq!(v6, "[::1]:80".parse().unwrap());
        let mapped = address("0000000000000000FFFF00000100007F:1F90").unwrap();
        assert_eq!(mapped, v4);
        for wrong in ["", ":", "0100007F", "0100007F:", "01:1F90", "é000007:1F90"] {
            assert_eq!(address(wrong), None);
        }
    }

    #[test]
    fn lines_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0\n   \
            1: 0100007F:1F90 0100007F:9999 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0\n  junk\n";
        let sockets = parse(text);
        assert_eq!(sockets.len(), 1);
        assert!(sockets[&77].listens);
    }
}
