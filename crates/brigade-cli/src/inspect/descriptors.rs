//! The open descriptors of a process, and what each leads to.

use rustix::fs::{FileType, major, minor};

use super::escape::visible_bytes;
use super::picture::{Access, Descriptor, DescriptorKind, Object};
use super::proc_dir::{Hidden, ProcDir};

/// `f_type` of the file system of POSIX message queues (statfs(2)).
const MQUEUE_MAGIC: u64 = 0x1980_0202;

pub(crate) fn read(dir: &ProcDir) -> Result<Vec<Descriptor>, Hidden> {
    let mut descriptors = Vec::new();
    for number in dir.numbers("fd")? {
        match read_one(dir, number) {
            Ok(descriptor) => descriptors.push(descriptor),
            // Closed since.
            Err(Hidden::Ended) => {}
            Err(why) => return Err(why),
        }
    }
    Ok(descriptors)
}

pub(crate) fn read_one(dir: &ProcDir, number: u32) -> Result<Descriptor, Hidden> {
    let path = format!("fd/{number}");
    let target = dir.link(&path)?;
    // The mode of the link itself says how it was opened.
    let mode = dir.stat(&path, false)?.st_mode;
    let access = match (mode & 0o400 != 0, mode & 0o200 != 0) {
        (true, true) => Access::ReadWrite,
        (true, false) => Access::Read,
        (false, true) => Access::Write,
        (false, false) => Access::None,
    };
    let (kind, object) = classify(dir, &path, &target)?;
    Ok(Descriptor {
        number,
        kind,
        target: visible_bytes(&target),
        access,
        object,
    })
}

fn classify(
    dir: &ProcDir,
    path: &str,
    target: &[u8],
) -> Result<(DescriptorKind, Option<Object>), Hidden> {
    if let Some(object) = numbered(target) {
        let kind = match object {
            Object::Socket(_) => DescriptorKind::Socket,
            _ => DescriptorKind::Pipe,
        };
        return Ok((kind, Some(object)));
    }
    if target.starts_with(b"anon_inode:") {
        return Ok((DescriptorKind::Kernel, None));
    }
    let stat = match dir.stat(path, true) {
        Ok(stat) => stat,
        Err(Hidden::Other(_)) => return Ok((DescriptorKind::Unknown, None)),
        Err(why) => return Err(why),
    };
    let (device, inode) = (stat.st_dev, stat.st_ino);
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => (DescriptorKind::Directory, None),
        FileType::Fifo => (DescriptorKind::Pipe, Some(Object::Pipe { device, inode })),
        FileType::Socket => (DescriptorKind::Socket, None),
        FileType::CharacterDevice if is_terminal(stat.st_rdev) => (DescriptorKind::Terminal, None),
        FileType::CharacterDevice | FileType::BlockDevice => (DescriptorKind::Device, None),
        FileType::RegularFile if is_memory(target) => {
            let region = Object::Region { device, inode };
            (DescriptorKind::Memory, Some(region))
        }
        FileType::RegularFile if is_queue(dir, path, target, device) => {
            let queue = Object::Queue { device, inode };
            (DescriptorKind::Queue, Some(queue))
        }
        FileType::RegularFile => (DescriptorKind::File, None),
        _ => (DescriptorKind::Unknown, None),
    })
}

/// `pipe:[7]`, `socket:[7]`: a number is all there is.
pub(crate) fn numbered(target: &[u8]) -> Option<Object> {
    let text = std::str::from_utf8(target).ok()?;
    let (kind, rest) = text.split_once(":[")?;
    let inode = rest.strip_suffix(']')?.parse().ok()?;
    match kind {
        // All of them are on one device of the kernel's own.
        "pipe" => Some(Object::Pipe { device: 0, inode }),
        "socket" => Some(Object::Socket(inode)),
        _ => None,
    }
}

/// Memory that has no place on a disk: there the device is the same in `maps`.
pub(crate) fn is_memory(target: &[u8]) -> bool {
    target.starts_with(b"/memfd:") || target.starts_with(b"/dev/shm/")
}

/// Terminals, virtual consoles and pseudo terminals (devices.txt of the kernel).
fn is_terminal(device: u64) -> bool {
    matches!(major(device), 4 | 5 | 136..=143) && (major(device), minor(device)) != (5, 2)
}

/// A queue looks like a file in the root folder. Only such are asked for their file system, since
/// others may be on one that does not answer.
fn is_queue(dir: &ProcDir, path: &str, target: &[u8], device: u64) -> bool {
    let is_in_root = target.first() == Some(&b'/') && !target[1..].contains(&b'/');
    is_in_root
        && major(device) == 0
        && rustix::fs::statfs(dir.path(path)).is_ok_and(|of| of.f_type as u64 == MQUEUE_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn pipes_and_sockets_have_numbers() {
        assert_eq!(
            numbered(b"pipe:[12]"),
            Some(Object::Pipe {
                device: 0,
                inode: 12
            })
        );
        assert_eq!(numbered(b"socket:[9]"), Some(Object::Socket(9)));
        for other in [&b"pipe:[x]"[..], b"/tmp/pipe:[1]x", b"\xff:[1]", b"a:[1]"] {
            assert_eq!(numbered(other), None);
        }
    }

    #[test]
    fn our_own_descriptors_are_what_they_are() {
        let dir = ProcDir::open(std::process::id()).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let folder = std::fs::File::open("/").unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let memory = rustix::fs::memfd_create("a name", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let of = |fd: i32| {
            let descriptor = read_one(&dir, fd as u32).unwrap();
            (descriptor.kind, descriptor.access)
        };
        assert_eq!(of(reader.as_raw_fd()), (DescriptorKind::Pipe, Access::Read));
        assert_eq!(
            of(writer.as_raw_fd()),
            (DescriptorKind::Pipe, Access::Write)
        );
        assert_eq!(
            of(folder.as_raw_fd()),
            (DescriptorKind::Directory, Access::Read)
        );
        assert_eq!(of(null.as_raw_fd()), (DescriptorKind::Device, Access::Read));
        assert_eq!(
            of(memory.as_raw_fd()),
            (DescriptorKind::Memory, Access::ReadWrite)
        );
    }
}
