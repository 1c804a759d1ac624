//! Which program this is: offsets in a program mean the same in the same build only.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;

use super::format::Checksum;
use super::text;
use crate::sys::image::ProgramImage;

/// The linker's build id; without one, a hash of the program's file.
pub(super) fn build_id() -> io::Result<&'static str> {
    static BUILD: OnceLock<String> = OnceLock::new();
    if let Some(build) = BUILD.get() {
        return Ok(build);
    }
    let id = &ProgramImage::this().build_id;
    let build = if id.is_empty() {
        // The linker wrote none. What is in memory would do too, but a debugger writes its
        // breakpoints there.
        hash_of(Path::new("/proc/self/exe"))?
    } else {
        text::hex(id)
    };
    Ok(BUILD.get_or_init(|| build))
}

pub(super) fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut sum = Checksum::default();
    let mut bytes = vec![0; 64 * 1024];
    let mut len = 0;
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(format!("file-{}-{len}", sum.hex())),
            n => {
                sum.add(&bytes[..n]);
                len += n;
            }
        }
    }
}
