//! Memory that a process shares by a mapping: `MAP_SHARED`, in `/proc/PID/maps`.

use std::collections::BTreeMap;

use super::escape::visible;
use super::picture::Object;
use super::proc_dir::{Hidden, ProcDir};

/// One region as one process has it mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) name: String,
    /// Bytes from its beginning to the end of what is mapped.
    pub(crate) size: u64,
    pub(crate) writable: bool,
    pub(crate) readable: bool,
    /// The region is memory, and no file on a disk.
    pub(crate) is_memory: bool,
}

pub(crate) fn read(dir: &ProcDir) -> Result<BTreeMap<Object, Mapped>, Hidden> {
    Ok(parse(&dir.text("maps")?))
}

/// Lines `from-to rwxs offset major:minor inode   name`.
fn parse(text: &str) -> BTreeMap<Object, Mapped> {
    let mut regions: BTreeMap<Object, Mapped> = BTreeMap::new();
    for (object, found) in text.lines().filter_map(parse_line) {
        regions
            .entry(object)
            .and_modify(|region| {
                region.size = region.size.max(found.size);
                region.writable |= found.writable;
                region.readable |= found.readable;
            })
            .or_insert(found);
    }
    regions
}

fn parse_line(line: &str) -> Option<(Object, Mapped)> {
    let (range, rest) = line.split_once(' ')?;
    let (mode, rest) = rest.split_once(' ')?;
    if mode.as_bytes().get(3) != Some(&b's') {
        return None;
    }
    let (offset, rest) = rest.split_once(' ')?;
    let (device, rest) = rest.split_once(' ')?;
    let (inode, name) = rest.split_once(' ').unwrap_or((rest, ""));
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (from, to) = range.split_once('-')?;
    let len = hex(to)?.checked_sub(hex(from)?)?;
    let (major, minor) = device.split_once(':')?;
    let device = rustix::fs::makedev(hex(major)? as u32, hex(minor)? as u32);
    let inode: u64 = inode.parse().ok()?;
    let name = name.trim_start();
    // A mapping of a device (a graphics card, a ring of io_uring) is no memory of two processes.
    if inode == 0 || name.starts_with("anon_inode:") {
        return None;
    }
    let is_anonymous = name == "/dev/zero (deleted)" || name.starts_with("/SYSV");
    if name.starts_with("/dev/") && !name.starts_with("/dev/shm/") && !is_anonymous {
        return None;
    }
    let mapped = Mapped {
        name: visible(name),
        size: hex(offset)?.saturating_add(len),
        writable: mode.as_bytes()[1] == b'w',
        readable: mode.as_bytes()[0] == b'r',
        is_memory: is_anonymous || super::descriptors::is_memory(name.as_bytes()),
    };
    Some((Object::Region { device, inode }, mapped))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
5500-5600 r-xp 00000000 fe:01 77                         /bin/x
7000-8000 rw-s 00000000 00:01 5                          /memfd:a b (deleted)
8000-9000 r--s 00001000 00:01 5                          /memfd:a b (deleted)
9000-a000 rw-s 00000000 00:05 1033                       /dev/dri/card0
a000-b000 rw-s 00000000 00:0f 9                          anon_inode:[io_uring]
b000-c000 r--s 00000000 fe:01 78                         /usr/lib/gconv.cache
c000-d000 rw-s 00000000 00:01 6                          /dev/zero (deleted)
d000-e000 rw-p 00000000 00:00 0
e000-f000 ---s 00000000 00:01 x
";

    #[test]
    fn shared_mappings_are_found_and_no_others() {
        let regions: Vec<Mapped> = parse(MAPS).into_values().collect();
        let names: Vec<&str> = regions.iter().map(|region| region.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "/memfd:a b (deleted)",
                "/dev/zero (deleted)",
                "/usr/lib/gconv.cache"
            ]
        );
        assert_eq!(regions[0].size, 0x2000);
        assert!(regions[0].writable && regions[0].is_memory);
        assert!(!regions[2].writable && !regions[2].is_memory);
    }
}
