//! Shared libraries that tasks' functions lie in.
//!
//! Problem: a program may pass a function of a library that it has loaded, and its workers have the
//! library at another address, or not at all: they descend from the start of the program, before
//! it loaded anything. So the host numbers such libraries, and a function of one travels as the
//! library's number, in the upper 16 bits of its word, and its distance from the load address. The
//! host tells a worker which library has which number ([`all`], [`needed_by`]; `Order::Library`),
//! and the worker looks for it by its build id when a task first needs it, and loads it where it
//! is not there. In the worker, and not in the fork server: a constructor that crashes costs one
//! task there, and one that starts a thread does not keep the fork server from forking.
//!
//! An address of a library that a worker has loaded is told to the host as such a word too, which
//! is no address of any process ([`sys::image::as_there`](crate::sys::image::as_there)).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::sys::image::{self, MOST_LOADED};
use crate::sys::library::LoadedLibrary;
use crate::sys::per_process::PerProcess;

/// Where the number of a library begins in a word. Addresses of programs are below.
const NUMBER_AT: u32 = 48;

/// A library, as another process can find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Library {
    /// By which the host knows it, from 1.
    pub(crate) number: u16,
    pub(crate) path: PathBuf,
    pub(crate) build_id: Vec<u8>,
}

/// The number of the library that this word is of; 0: it is one of the program.
fn number_of(word: u64) -> u16 {
    (word >> NUMBER_AT) as u16
}

fn offset_of(word: u64) -> u64 {
    word & ((1 << NUMBER_AT) - 1)
}

fn word(number: u16, offset: u64) -> u64 {
    u64::from(number) << NUMBER_AT | offset
}

// ---- in a host

/// A library of this process's, and where it was when it was last looked for.
struct Known {
    library: Arc<Library>,
    loaded: LoadedLibrary,
}

/// Those that functions of tasks lie in. Numbers are places in this list, from 1.
static KNOWN: PerProcess<Mutex<Vec<Known>>> = PerProcess::new(Mutex::default);
/// The list is not empty. Mostly it is, and then no caller takes its lock.
static ANY: AtomicBool = AtomicBool::new(false);

fn known() -> MutexGuard<'static, Vec<Known>> {
    KNOWN.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names the function at `address`, which is not code of the main program.
#[cold]
pub(super) fn name(address: usize) -> io::Result<u64> {
    let unsupported = |why: String| io::Error::new(io::ErrorKind::Unsupported, why);
    let loaded = LoadedLibrary::at(address).ok_or_else(|| {
        unsupported(
            "the task's function is code of no file that this program has loaded, so a worker process cannot find it".to_owned(),
        )
    })?;
    let offset = loaded.offset_of(address).ok_or(io::ErrorKind::NotFound)?;
    let mut known = known();
    let path = loaded.absolute_path();
    let is_it = |it: &Known| it.library.build_id == loaded.build_id && it.library.path == path;
    if let Some(it) = known.iter_mut().find(|it| is_it(it)) {
        it.loaded = loaded;
        return Ok(word(it.library.number, offset));
    }
    if loaded.build_id.is_empty() {
        return Err(unsupported(format!(
            "the task's function is in the shared library {}, which has no build id by which a worker process could tell that it has the same: link it with `--build-id`",
            path.display()
        )));
    }
    if known.len() == MOST_LOADED {
        return Err(unsupported(format!(
            "the task's function is in the shared library {}, and functions of {MOST_LOADED} others are tasks already: a program's tasks may lie in no more",
            path.display()
        )));
    }
    let number = known.len() as u16 + 1;
    known.push(Known {
        library: Arc::new(Library {
            number,
            path,
            build_id: loaded.build_id.clone(),
        }),
        loaded,
    });
    ANY.store(true, Ordering::Release);
    Ok(word(number, offset))
}

/// Those that functions of this process's tasks lie in, so far.
pub(crate) fn all() -> Vec<Arc<Library>> {
    if !ANY.load(Ordering::Acquire) {
        return Vec::new();
    }
    known().iter().map(|it| Arc::clone(&it.library)).collect()
}

/// Those that a worker needs to find these functions.
pub(crate) fn needed_by(words: [u64; 2]) -> Vec<Arc<Library>> {
    // Mostly they are the program's.
    if words.iter().all(|&word| number_of(word) == 0) {
        return Vec::new();
    }
    let mut all = all();
    all.retain(|library| words.iter().any(|&word| number_of(word) == library.number));
    all
}

/// The file of the library that this word is of, and the address in that.
pub(crate) fn place_of(word: u64) -> Option<(PathBuf, u64)> {
    let number = number_of(word).checked_sub(1)?;
    let known = known();
    let it = known.get(usize::from(number))?;
    Some((it.library.path.clone(), offset_of(word)))
}

// ---- in a worker

/// A library that the host has told of, and what came of loading it.
struct Received {
    library: Library,
    loaded: Option<Result<LoadedLibrary, String>>,
}

static RECEIVED: Mutex<Vec<Received>> = Mutex::new(Vec::new());

fn received() -> MutexGuard<'static, Vec<Received>> {
    RECEIVED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Received {
    fn loaded(&mut self) -> Result<&LoadedLibrary, &str> {
        let Library {
            number,
            path,
            build_id,
        } = &self.library;
        let load = || {
            let was_there = LoadedLibrary::of_build(build_id).is_some();
            let loaded = LoadedLibrary::load(path, build_id)?;
            // What the fork server has, it has told the host of.
            if !was_there {
                let offset = loaded.range.start.wrapping_sub(loaded.bias) as u64;
                image::is_told_as(&loaded.range, word(*number, offset) as usize);
            }
            Ok(loaded)
        };
        let loaded = self.loaded.get_or_insert_with(load);
        loaded.as_ref().map_err(String::as_str)
    }
}

/// The host says which library this is. It is not loaded yet.
pub(crate) fn receive(library: Library) {
    let mut received = received();
    if !received.iter().any(|it| it.library == library) {
        received.retain(|it| it.library.number != library.number);
        received.push(Received {
            library,
            loaded: None,
        });
    }
}

/// Loads all, for in a sandbox none can be loaded later. What cannot be loaded is told by the task
/// that needs it.
pub(crate) fn load_received() {
    for it in received().iter_mut() {
        let _ = it.loaded();
    }
}

/// Where the code is that this word of the host's names.
#[cold]
pub(super) fn find(word: u64) -> Option<usize> {
    let number = number_of(word);
    let mut received = received();
    let it = received.iter_mut().find(|it| it.library.number == number)?;
    it.loaded().ok()?.address_of(offset_of(word))
}

/// Why there is no code where this word of the host's says: the end of a sentence about a function.
pub(super) fn why_absent(word: u64) -> String {
    let number = number_of(word);
    let mut received = received();
    let it = received.iter_mut().find(|it| it.library.number == number);
    let place = |path: &Path| format!("is in the shared library {}", path.display());
    match it {
        None => "is not part of this worker's program".to_owned(),
        Some(it) => {
            let place = place(&it.library.path);
            match it.loaded() {
                Ok(_) => format!("{place}, which has no code there"),
                Err(why) => format!("{place}, which this worker cannot load: {why}"),
            }
        }
    }
}
