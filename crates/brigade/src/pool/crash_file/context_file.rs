//! What many tasks use, a context, is kept beside their crash files once: its encoded bytes, in a
//! file that is named by them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::format::Checksum;
use crate::task::codec::MAX_BYTES;

/// The name that a context of these bytes has.
fn name_of(bytes: &[u8]) -> String {
    let mut sum = Checksum::default();
    sum.add(bytes);
    format!("context-{}-{}", sum.hex(), bytes.len())
}

/// Writes a file of these bytes, if there is none. Returns its name.
pub(crate) fn keep(bytes: &[u8], dir: &Path) -> io::Result<String> {
    let name = name_of(bytes);
    let path = dir.join(&name);
    let is_there = |file: fs::Metadata| file.is_file() && file.len() == bytes.len() as u64;
    if fs::symlink_metadata(&path).is_ok_and(is_there) {
        return Ok(name);
    }
    // Another process may write the same, under another name.
    let part = dir.join(format!("{name}.{}.part", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&part, &path));
    match written {
        Ok(()) => Ok(name),
        // Another thread of this one does.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(name),
        Err(e) => {
            let _ = fs::remove_file(&part);
            Err(e)
        }
    }
}

/// Reads such a file, which has to be what its name says, and lies beside a crash file.
pub(super) fn read(name: &str, crash_file: &Path) -> Result<Vec<u8>, String> {
    let told = |what: &dyn std::fmt::Display| format!("its context, the file {name}: {what}");
    if name.contains('/') || !name.starts_with("context-") {
        return Err(told(&"that is no name of a context"));
    }
    let path = crash_file.with_file_name(name);
    let len = fs::metadata(&path).map_err(|e| told(&e))?.len();
    if len > MAX_BYTES as u64 {
        return Err(told(&"it is too long"));
    }
    let bytes = fs::read(path).map_err(|e| told(&e))?;
    if name_of(&bytes) != name {
        return Err(told(&"it is damaged"));
    }
    Ok(bytes)
}
