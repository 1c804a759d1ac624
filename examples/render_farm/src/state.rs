//! The chunks that are finished, in a directory: what a later run goes on from.
//!
//! ```text
//! job.json          what the film is to be
//! 0003.ivf          a chunk, a film of its own
//! 0007.patched.ivf  a chunk with a frame in place of another; a later run tries it anew
//! ```

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::film::{self, Draft, at};
use crate::job::Job;

const JOB: &str = "job.json";

/// The directory. While it lives, no other run uses it.
#[derive(Debug)]
pub(crate) struct State {
    dir: PathBuf,
    job: Job,
    /// The directory itself is what is locked.
    _lock: File,
}

impl State {
    /// Opens the directory, or makes it. What another film has left there is an error, unless it is
    /// told to `restart`: then it is removed.
    pub(crate) fn open(dir: &Path, job: &Job, restart: bool) -> Result<State, String> {
        let lock = loop {
            match fs::create_dir(dir) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                made => made.map_err(at(dir))?,
            }
            let lock = match File::open(dir) {
                // Another run has ended, and removed it.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                opened => opened.map_err(at(dir))?,
            };
            lock.try_lock().map_err(|e| match e {
                TryLockError::WouldBlock => format!("{}: another run uses it", dir.display()),
                TryLockError::Error(e) => at(dir)(e),
            })?;
            if film::is_at(&lock, dir)? {
                break lock;
            }
        };
        let state = State {
            dir: dir.to_owned(),
            job: job.clone(),
            _lock: lock,
        };
        if restart {
            state.clear()?;
        }
        let path = dir.join(JOB);
        match fs::read(&path) {
            Ok(found) => {
                let found: Job = serde_json::from_slice(&found)
                    .map_err(|e| format!("{}: {e}", path.display()))?;
                let differences = job.differences(&found);
                if !differences.is_empty() {
                    return Err(format!(
                        "{} is of another film ({}): --restart throws it away, --state keeps \
                         this one's elsewhere",
                        dir.display(),
                        differences.join("; ")
                    ));
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                if let Some(chunk) = state.chunks()?.first() {
                    return Err(format!(
                        "{}: of what film is it? There is no {JOB}; --restart throws it away",
                        chunk.display()
                    ));
                }
                let text = serde_json::to_vec_pretty(job).map_err(|e| e.to_string())?;
                write(&path, &text)?;
            }
            Err(e) => return Err(at(&path)(e)),
        }
        Ok(state)
    }

    fn path(&self, chunk: u32, is_patched: bool) -> PathBuf {
        let kind = if is_patched { "patched.ivf" } else { "ivf" };
        self.dir.join(format!("{chunk:04}.{kind}"))
    }

    /// Whether a chunk is finished, and none of its frames is in place of another.
    pub(crate) fn is_finished(&self, chunk: u32) -> Result<bool, String> {
        Ok(self.read(chunk, false)?.is_some())
    }

    /// The packets of a chunk that is there and whole.
    fn read(&self, chunk: u32, is_patched: bool) -> Result<Option<Vec<u8>>, String> {
        let path = self.path(chunk, is_patched);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(at(&path)(e)),
        };
        let Job { size, rate, .. } = self.job;
        let packets = film::packets_of(&bytes, size, rate, self.job.frames_of(chunk));
        Ok(packets.map(<[u8]>::to_vec))
    }

    /// Keeps a chunk's packets.
    pub(crate) fn store(
        &self,
        chunk: u32,
        packets: &[Vec<u8>],
        is_patched: bool,
    ) -> Result<(), String> {
        let first = self.job.frames_of(chunk).start;
        let bytes = film::chunk(self.job.size, self.job.rate, first, packets);
        write(&self.path(chunk, is_patched), &bytes)
    }

    /// Puts all chunks one after another.
    pub(crate) fn assemble(&self, mut into: Draft) -> Result<(), String> {
        let Job {
            size, rate, frames, ..
        } = self.job;
        into.write(&film::header(size, rate, frames))?;
        for chunk in 0..self.job.chunks() {
            let packets = match self.read(chunk, false)? {
                Some(packets) => packets,
                None => self.read(chunk, true)?.ok_or_else(|| {
                    format!("{} is gone, or damaged", self.path(chunk, false).display())
                })?,
            };
            into.write(&packets)?;
        }
        into.keep()
    }

    /// Removes what was kept.
    pub(crate) fn remove(self) -> Result<(), String> {
        self.clear()?;
        match fs::remove_dir(&self.dir) {
            // It was there before, or others have put something into it.
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed.map_err(at(&self.dir)),
        }
    }

    /// Removes the files that it has made, and no others. The job goes last: what is left of an end
    /// in between is still known for what it is.
    fn clear(&self) -> Result<(), String> {
        let mut ours = self.chunks()?;
        ours.push(self.dir.join(JOB));
        for path in ours {
            match fs::remove_file(&path) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                removed => removed.map_err(at(&path))?,
            }
        }
        Ok(())
    }

    /// The files of chunks, begun ones too.
    fn chunks(&self) -> Result<Vec<PathBuf>, String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let path = entry.map_err(at(&self.dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(is_chunk) {
                found.push(path);
            }
        }
        Ok(found)
    }
}

fn is_chunk(name: &str) -> bool {
    let name = name.strip_suffix(".part").unwrap_or(name);
    let number = name.strip_suffix(".ivf");
    let number = number.map(|name| name.strip_suffix(".patched").unwrap_or(name));
    number.is_some_and(|digits| digits.len() >= 4 && digits.bytes().all(|c| c.is_ascii_digit()))
}

/// Writes a file that is there as a whole, or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let mut draft = Draft::create(path)?;
    draft.write(bytes)?;
    draft.keep()
}
