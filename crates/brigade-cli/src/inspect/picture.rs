//! What is drawn: processes, their threads, and what connects them. Text, JSON and SVG are made
//! from this.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::published::Published;

/// A thing, or why it cannot be seen. Never a zero in place of what is not permitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Seen<T> {
    Seen(T),
    Not { unknown: String },
}

impl<T> Seen<T> {
    pub(crate) fn not(why: impl ToString) -> Self {
        Self::Not {
            unknown: why.to_string(),
        }
    }

    pub(crate) fn ok(&self) -> Option<&T> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Not { .. } => None,
        }
    }

    /// In words: the thing as `say` says it, or why it is not known.
    pub(crate) fn say(&self, say: impl FnOnce(&T) -> String) -> String {
        match self {
            Self::Seen(value) => say(value),
            Self::Not { unknown } => unknown.clone(),
        }
    }
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Picture {
    /// The process that was asked for.
    pub(crate) root: u32,
    /// The root, its descendants, and the fork servers of Brigade with theirs; parents before
    /// children.
    pub(crate) processes: Vec<Process>,
    /// Processes outside of these that something leads to.
    pub(crate) outside: Vec<Outside>,
    pub(crate) connections: Vec<Connection>,
    /// Where others can connect to.
    pub(crate) listeners: Vec<Connection>,
    /// What could not be seen, in sentences.
    pub(crate) notes: Vec<String>,
}

/// A process and its threads.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// The name of the program, 15 bytes at most: `comm`.
    pub(crate) name: String,
    pub(crate) command: Seen<Vec<String>>,
    /// The effective user.
    pub(crate) user: Seen<String>,
    pub(crate) state: State,
    /// In clock ticks since the machine was started: with the pid it names one process.
    pub(crate) started_ticks: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) memory: Memory,
    pub(crate) threads: Seen<Vec<Thread>>,
    pub(crate) descriptors: Seen<Vec<Descriptor>>,
    /// What it publishes of its pools, if it does.
    pub(crate) published: Option<Seen<Published>>,
    /// Why it is here though it is no descendant.
    pub(crate) because: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Thread {
    pub(crate) tid: u32,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) cpu_seconds: f64,
}

/// What a thread does, by the letter in `/proc/PID/stat`; a process as its first thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Running,
    Sleeping,
    /// In the kernel, and no signal wakes it.
    Uninterruptible,
    Stopped,
    /// By a debugger.
    Traced,
    /// The process has ended, and its parent has not collected it.
    Zombie,
    /// A thread of the kernel that has nothing to do.
    Idle,
    /// The process ended while it was looked at.
    Ended,
    Unknown,
}

impl State {
    pub(crate) fn of(letter: u8) -> Self {
        match letter {
            b'R' => Self::Running,
            b'S' => Self::Sleeping,
            b'D' => Self::Uninterruptible,
            b'T' => Self::Stopped,
            b't' => Self::Traced,
            b'Z' => Self::Zombie,
            b'I' => Self::Idle,
            b'X' | b'x' => Self::Ended,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::Uninterruptible => "in the kernel",
            Self::Stopped => "stopped",
            Self::Traced => "traced",
            Self::Zombie => "zombie",
            Self::Idle => "idle",
            Self::Ended => "ended",
            Self::Unknown => "?",
        }
    }
}

/// In bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Pages in memory, its own and others.
    pub(crate) resident: Seen<u64>,
    /// Of them, those that no other process has.
    pub(crate) private: Seen<u64>,
    /// Those that others have too: regions, and the same files.
    pub(crate) shared: Seen<u64>,
}

impl Memory {
    /// Nothing of it is known, or there is none.
    pub(crate) fn not(why: impl ToString) -> Self {
        let not = || Seen::not(why.to_string());
        Self {
            resident: not(),
            private: not(),
            shared: not(),
        }
    }

    /// `1.2 MiB private, 3.4 MiB shared, 4.6 MiB resident`. What is not known comes last, with the
    /// reason, which is told once.
    pub(crate) fn words(&self) -> String {
        let parts = [
            ("private", &self.private),
            ("shared", &self.shared),
            ("resident", &self.resident),
        ];
        let known = parts.iter().filter_map(|(name, seen)| {
            let bytes = seen.ok()?;
            Some(format!("{} {name}", super::text::size(*bytes)))
        });
        let known: Vec<String> = known.collect();
        let mut unknown: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, seen) in parts {
            if let Seen::Not { unknown: why } = seen {
                match unknown.iter_mut().find(|(known, _)| known == why) {
                    Some((_, names)) => names.push(name),
                    None => unknown.push((why, vec![name])),
                }
            }
        }
        if let ([], [(why, _)]) = (known.as_slice(), unknown.as_slice()) {
            return (*why).to_owned();
        }
        let mut words = vec![known.join(", ")];
        words.retain(|known| !known.is_empty());
        words.extend(
            unknown
                .into_iter()
                .map(|(why, names)| format!("{}: {why}", names.join(" and "))),
        );
        words.join("; ")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Descriptor {
    pub(crate) number: u32,
    pub(crate) kind: DescriptorKind,
    /// What it leads to, as the kernel says it.
    pub(crate) target: String,
    pub(crate) access: Access,
    /// What it leads to, so that it can be found in other processes.
    #[serde(skip)]
    pub(crate) object: Option<Object>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DescriptorKind {
    File,
    Directory,
    Terminal,
    Device,
    Pipe,
    Socket,
    /// A POSIX message queue.
    Queue,
    /// A memfd, or a file in /dev/shm.
    Memory,
    /// An event counter, an epoll set, a pidfd and the like.
    Kernel,
    Unknown,
}

impl DescriptorKind {
    pub(crate) fn words(self, count: usize) -> String {
        let (one, many) = match self {
            Self::File => ("file", "files"),
            Self::Directory => ("directory", "directories"),
            Self::Terminal => ("terminal", "terminals"),
            Self::Device => ("device", "devices"),
            Self::Pipe => ("pipe", "pipes"),
            Self::Socket => ("socket", "sockets"),
            Self::Queue => ("message queue", "message queues"),
            Self::Memory => ("memory region", "memory regions"),
            Self::Kernel => ("kernel object", "kernel objects"),
            Self::Unknown => ("unknown", "unknown"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Access {
    Read,
    Write,
    ReadWrite,
    None,
}

impl Access {
    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// What is the same for all descriptors and mappings that lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Object {
    Pipe { device: u64, inode: u64 },
    Socket(u64),
    Queue { device: u64, inode: u64 },
    Region { device: u64, inode: u64 },
}

/// A process that is not in the picture, but connected to one that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Outside {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// Something that processes have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Connection {
    pub(crate) kind: Kind,
    /// A path, an address, the name of a queue or a region; or the number of its inode.
    pub(crate) name: String,
    /// Bytes of a region.
    pub(crate) size: Option<u64>,
    /// Pipes: what writes. Sockets: one end. Queues and regions: all that have it.
    pub(crate) one: Vec<End>,
    /// Pipes: what reads. Sockets: the other end. Empty if it is closed, or was not seen.
    pub(crate) other: Vec<End>,
    /// What is known of the other side, if no process was seen there.
    pub(crate) remark: Option<String>,
}

impl Connection {
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        let ends = self.one.iter().chain(&self.other);
        ends.map(|end| end.pid).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Pipe,
    Unix,
    Tcp,
    Queue,
    Region,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pipe => "pipe",
            Self::Unix => "socket",
            Self::Tcp => "tcp",
            Self::Queue => "queue",
            Self::Region => "region",
        }
    }
}

/// A process's part in a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct End {
    pub(crate) pid: u32,
    pub(crate) descriptors: Vec<u32>,
    /// The process has the region in its address space.
    pub(crate) mapped: bool,
    pub(crate) access: Access,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_of_memory_is_told_once() {
        let mut memory = Memory::not("it has ended");
        assert_eq!(memory.words(), "it has ended");
        memory.resident = Seen::Seen(3 << 20);
        assert_eq!(
            memory.words(),
            "3.0 MiB resident; private and shared: it has ended"
        );
        memory.private = Seen::Seen(1 << 20);
        memory.shared = Seen::Seen(2 << 20);
        assert_eq!(
            memory.words(),
            "1.0 MiB private, 2.0 MiB shared, 3.0 MiB resident"
        );
        memory.shared = Seen::not("not permitted");
        memory.private = Seen::not("no such line");
        let words = "3.0 MiB resident; private: no such line; shared: not permitted";
        assert_eq!(memory.words(), words);
    }
}
