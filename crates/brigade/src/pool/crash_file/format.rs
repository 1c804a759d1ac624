//! What a crash file says first, what of it decides what is run, and the checksum of that.

use std::io;

use serde::Serialize;

use crate::task::library::Library;

/// The first line, without the version.
pub(super) const TITLE: &str = "brigade crash file, version ";
pub(super) const VERSION: &str = "1";
/// The line after which the input begins.
pub(super) const INPUT: &str = "input in base64:";

/// What decides what is run: all that the checksum is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ReplaySpec {
    pub(crate) build: String,
    pub(crate) entry: u64,
    pub(crate) function: u64,
    pub(crate) initializer: Option<u64>,
    pub(crate) directory: Option<Vec<u8>>,
    pub(crate) clear_environment: bool,
    pub(crate) variables: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) descriptors: u64,
    pub(crate) length: u64,
    /// The file of the context that the task uses.
    #[serde(skip)]
    pub(crate) context: Option<String>,
    /// The file of the state that it uses: what loads it, and from what.
    #[serde(skip)]
    pub(crate) state: Option<String>,
    /// The shared libraries that functions lie in.
    #[serde(skip)]
    pub(crate) libraries: Vec<Library>,
}

impl ReplaySpec {
    /// The checksum without the input, which is added to it as it comes.
    pub(super) fn checksum(&self) -> io::Result<Checksum> {
        let mut sum = Checksum::default();
        sum.add(&postcard::to_stdvec(self).map_err(io::Error::other)?);
        sum.add(self.context.as_deref().unwrap_or_default().as_bytes());
        if let Some(state) = &self.state {
            sum.add(b"state");
            sum.add(state.as_bytes());
        }
        for library in &self.libraries {
            sum.add(b"library");
            sum.add(&postcard::to_stdvec(library).map_err(io::Error::other)?);
        }
        Ok(sum)
    }
}

/// FNV-1a, 64 bits. It is there to find damage, not malice: a user who may write the file
/// may as well write the program.
#[derive(Debug)]
pub(super) struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Checksum {
        Checksum(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}
