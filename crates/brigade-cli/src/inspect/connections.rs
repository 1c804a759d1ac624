//! Who is connected with whom: the same object in several processes, or the two ends of a socket.
//!
//! Everything is matched by numbers that the kernel gives: device and inode, and the peer of a
//! socket. Nothing is concluded from names.

use std::collections::{BTreeMap, BTreeSet};

use super::picture::{Access, Connection, Descriptor, End, Kind, Object};
use super::regions::Mapped;
use super::tcp::TcpSocket;
use super::unix_sockets::UnixSocket;

/// What one process has of an object.
#[derive(Debug, Clone, Default)]
struct Held {
    descriptors: Vec<u32>,
    reads: bool,
    writes: bool,
    mapped: bool,
}

/// Which processes have which objects.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    objects: BTreeMap<Object, BTreeMap<u32, Held>>,
    names: BTreeMap<Object, String>,
    regions: BTreeMap<Object, Mapped>,
}

/// What is known of sockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) unix: BTreeMap<u64, UnixSocket>,
    /// One table for each network namespace.
    pub(crate) tcp: Vec<BTreeMap<u64, TcpSocket>>,
}

/// The two lists of the picture.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) connections: Vec<Connection>,
    pub(crate) listeners: Vec<Connection>,
    /// A connection whose other side was not seen.
    pub(crate) one_sided: bool,
}

impl Holders {
    pub(crate) fn add_descriptor(&mut self, pid: u32, descriptor: &Descriptor) {
        let Some(object) = descriptor.object else {
            return;
        };
        let held = self.held(object, pid);
        held.descriptors.push(descriptor.number);
        held.reads |= descriptor.access.reads();
        held.writes |= descriptor.access.writes();
        self.names
            .entry(object)
            .or_insert_with(|| descriptor.target.clone());
    }

    pub(crate) fn add_region(&mut self, pid: u32, object: Object, mapped: &Mapped) {
        let held = self.held(object, pid);
        held.mapped = true;
        held.reads |= mapped.readable;
        held.writes |= mapped.writable;
        let region = self.regions.entry(object).or_insert_with(|| mapped.clone());
        region.size = region.size.max(mapped.size);
    }

    fn held(&mut self, object: Object, pid: u32) -> &mut Held {
        let holders = self.objects.entry(object).or_default();
        holders.entry(pid).or_default()
    }

    /// All objects, and the other ends of sockets: what to look for in other processes.
    pub(crate) fn wanted(&self, sockets: &Sockets) -> BTreeSet<Object> {
        let mut wanted = BTreeSet::new();
        for &object in self.objects.keys() {
            wanted.insert(object);
            if let Object::Socket(inode) = object {
                wanted.extend(sockets.peers(inode).into_iter().map(Object::Socket));
            }
        }
        wanted
    }

    /// The names under which files, queues and memory are open.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.names.values().map(String::as_str).collect()
    }

    /// Finds the connections of which at least one end is in a process of `inside`.
    pub(crate) fn connect(&self, sockets: &Sockets, inside: &BTreeSet<u32>) -> Connections {
        let mut found = Connections::default();
        for (&object, holders) in &self.objects {
            if !holders.keys().any(|pid| inside.contains(pid)) {
                continue;
            }
            match object {
                Object::Pipe { inode, .. } => self.pipe(object, inode, holders, &mut found),
                Object::Socket(inode) => self.socket(inode, holders, sockets, inside, &mut found),
                Object::Queue { .. } | Object::Region { .. } => {
                    self.common(object, holders, &mut found);
                }
            }
        }
        found
            .connections
            .sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        found
    }

    fn pipe(
        &self,
        object: Object,
        inode: u64,
        holders: &BTreeMap<u32, Held>,
        to: &mut Connections,
    ) {
        let name = match self.names.get(&object) {
            Some(path) if path.starts_with('/') => path.clone(),
            _ => inode.to_string(),
        };
        let one = ends(holders.iter().filter(|(_, held)| held.writes));
        let other = ends(holders.iter().filter(|(_, held)| held.reads));
        to.pair(Kind::Pipe, name, one, other, None);
    }

    fn socket(
        &self,
        inode: u64,
        holders: &BTreeMap<u32, Held>,
        sockets: &Sockets,
        inside: &BTreeSet<u32>,
        to: &mut Connections,
    ) {
        let of = |inode: u64| self.objects.get(&Object::Socket(inode));
        let is_told_by_peer = |peer: u64| {
            // Both know each other: told once.
            peer < inode && of(peer).is_some_and(|held| held.keys().any(|pid| inside.contains(pid)))
        };
        if let Some(socket) = sockets.unix.get(&inode) {
            if socket.listens || socket.peer.is_none() {
                if let Some(name) = &socket.name {
                    to.listener(Kind::Unix, name.clone(), ends(holders.iter()));
                }
                return;
            }
            let peer = u64::from(socket.peer.unwrap_or_default());
            let back = sockets.unix.get(&peer);
            let is_mutual = back.and_then(|back| back.peer).map(u64::from) == Some(inode);
            if is_mutual && is_told_by_peer(peer) {
                return;
            }
            let name = socket
                .name
                .as_ref()
                .or(back.and_then(|back| back.name.as_ref()));
            let name = name.cloned().unwrap_or_else(|| format!("{inode}–{peer}"));
            let other = of(peer).map(|held| ends(held.iter())).unwrap_or_default();
            to.pair(Kind::Unix, name, ends(holders.iter()), other, None);
        } else if let Some((socket, peer)) = sockets.tcp(inode) {
            if socket.listens {
                let name = socket.local.to_string();
                to.listener(Kind::Tcp, name, ends(holders.iter()));
                return;
            }
            if peer.is_some_and(is_told_by_peer) {
                return;
            }
            let name = format!("{} – {}", socket.local, socket.remote);
            let other = peer.and_then(of).map(|held| ends(held.iter()));
            let remark = peer.is_none().then(|| socket.remote.to_string());
            let other = other.unwrap_or_default();
            to.pair(Kind::Tcp, name, ends(holders.iter()), other, remark);
        }
    }

    /// What all that have it may use alike.
    fn common(&self, object: Object, holders: &BTreeMap<u32, Held>, to: &mut Connections) {
        if holders.len() < 2 {
            return;
        }
        let name = self.names.get(&object).cloned();
        let (kind, name, size) = match object {
            Object::Region { inode, .. } => {
                let region = self.regions.get(&object);
                // A file that all of them only read is no way from one to the other.
                let is_memory = region.is_none_or(|region| region.is_memory);
                if !is_memory && !holders.values().any(|held| held.writes) {
                    return;
                }
                let name = region.map(|region| region.name.clone()).or(name);
                let name = name.unwrap_or_default();
                let short = name.strip_suffix(" (deleted)").unwrap_or(&name);
                let name = match short.strip_prefix("/memfd:") {
                    _ if short == "/dev/zero" => format!("without a name ({inode})"),
                    Some(short) => format!("{short} ({inode})"),
                    None => name.clone(),
                };
                (Kind::Region, name, region.map(|region| region.size))
            }
            _ => (Kind::Queue, name.unwrap_or_default(), None),
        };
        to.connections.push(Connection {
            kind,
            name,
            size,
            one: ends(holders.iter()),
            other: Vec::new(),
            remark: None,
        });
    }
}

impl Connections {
    fn pair(
        &mut self,
        kind: Kind,
        name: String,
        one: Vec<End>,
        other: Vec<End>,
        remark: Option<String>,
    ) {
        let connection = Connection {
            kind,
            name,
            size: None,
            remark,
            one,
            other,
        };
        let both = !connection.one.is_empty() && !connection.other.is_empty();
        if both && connection.pids().len() < 2 {
            // A process with both ends talks to itself.
            return;
        }
        self.one_sided |= !both && connection.remark.is_none();
        self.connections.push(connection);
    }

    fn listener(&mut self, kind: Kind, name: String, one: Vec<End>) {
        self.listeners.push(Connection {
            kind,
            name,
            size: None,
            one,
            other: Vec::new(),
            remark: None,
        });
    }
}

impl Sockets {
    fn tcp(&self, inode: u64) -> Option<(TcpSocket, Option<u64>)> {
        self.tcp.iter().find_map(|table| {
            let socket = *table.get(&inode)?;
            let peer = table.iter().find(|(_, other)| {
                !other.listens && other.local == socket.remote && other.remote == socket.local
            });
            Some((socket, peer.map(|(&peer, _)| peer)))
        })
    }

    fn peers(&self, inode: u64) -> Vec<u64> {
        let unix = self.unix.get(&inode).and_then(|socket| socket.peer);
        let tcp = self.tcp(inode).and_then(|(_, peer)| peer);
        unix.map(u64::from).into_iter().chain(tcp).collect()
    }
}

fn ends<'a>(holders: impl Iterator<Item = (&'a u32, &'a Held)>) -> Vec<End> {
    let ends = holders.map(|(&pid, held)| End {
        pid,
        descriptors: held.descriptors.clone(),
        mapped: held.mapped,
        access: match (held.reads, held.writes) {
            (true, true) => Access::ReadWrite,
            (true, false) => Access::Read,
            (false, true) => Access::Write,
            (false, false) => Access::None,
        },
    });
    ends.collect()
}
