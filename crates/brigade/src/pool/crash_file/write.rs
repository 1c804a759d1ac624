//! Writing a crash file.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::build::build_id;
use super::command::{DEBUGGER, program, replay_command};
use super::ended::KeptEnd;
use super::format::{INPUT, ReplaySpec, TITLE, VERSION};
use super::text::{UtcTime, escape_for_display, escaped};
use crate::pool::events;
use crate::sys::opened::lifted;
use crate::task::entry::Plan;
use crate::task::library::{self, Library};
use crate::task::text::floor_char_boundary;
use crate::worker::process::ipc::protocol::Setup;

/// Bytes of input on one line, which becomes 76 characters.
const BYTES_IN_LINE: usize = 57;
/// Bytes of a task's name that its file is called by.
const MAX_NAME: usize = 64;
/// Bytes of a backtrace that are kept: the names of generic functions know no bounds.
const MAX_BACKTRACE: usize = 256 * 1024;
/// Crashes of the same task, in the same process number, in the same second.
const MAX_SAME_NAME: u32 = 10_000;

/// A task whose worker died, as it was given to the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrashFile<'a> {
    pub(crate) plan: Plan,
    /// As it was encoded.
    pub(crate) input: &'a [u8],
    /// How many descriptors came with the input, and with the context.
    pub(crate) descriptors: usize,
    /// The file beside this one of the context that the task uses.
    pub(crate) context: Option<&'a str>,
    /// What that file is of is a state, and not a context.
    pub(crate) uses_state: bool,
    /// Counted from 1: with retries, a task may crash more than once.
    pub(crate) attempt: u32,
    /// The pool's initializer, as an offset: `Function::at(initializer as usize)?.0`.
    pub(crate) initializer: Option<u64>,
    /// What the worker did to itself first.
    pub(crate) setup: Option<&'a Setup>,
}

impl CrashFile<'_> {
    /// Writes the file, and has the crash say where it is; or why there is none.
    pub(crate) fn write_and_attach(&self, crash: &mut impl KeptEnd, dir: &Path) {
        match self.write(crash, dir) {
            Ok(path) => crash.set_file(Ok(path)),
            Err(e) => attach_error(
                crash,
                format!("no crash file could be written into {}: {e}", dir.display()),
            ),
        }
    }

    /// Writes the file. Returns its path, which is absolute if `dir` is.
    ///
    /// Only its owner can read it, for an input may be secret. No program finds half a file, for it
    /// gets its name when it is whole.
    pub(crate) fn write(&self, crash: &impl KeptEnd, dir: &Path) -> io::Result<PathBuf> {
        create_private_dir(dir)?;
        let now = UtcTime::at(SystemTime::now());
        let name = format!(
            "{}-{}-{}",
            file_name(crash.task()),
            crash.pid(),
            now.compact()
        );
        let (path, mut part) = TempFile::create(dir, &name)?;
        let mut file = BufWriter::with_capacity(64 * 1024, &part.file);
        self.write_header(crash, now, &path, &mut file)?;
        file.flush()?;
        drop(file);
        part.finish(&path)?;
        Ok(path)
    }

    fn write_header(
        &self,
        crash: &impl KeptEnd,
        now: UtcTime,
        path: &Path,
        to: &mut impl Write,
    ) -> io::Result<()> {
        let spec = self.spec()?;
        let mut sum = spec.checksum()?;

        writeln!(to, "{TITLE}{VERSION}")?;
        writeln!(to, "task: {}", escaped(crash.task().as_bytes()))?;
        let started = crash.started_at().to_string();
        writeln!(to, "started at: {}", escaped(started.as_bytes()))?;
        writeln!(to, "cause: {}", escaped(crash.cause().as_bytes()))?;
        if let Some(address) = crash.address() {
            writeln!(to, "address: {address:#x}")?;
        }
        if let Some(blocked) = crash.blocked() {
            writeln!(to, "blocked: {}", escaped(blocked.as_bytes()))?;
        }
        let phase = format!("{:?}", crash.phase()).to_lowercase();
        writeln!(to, "phase: {phase}")?;
        writeln!(to, "process: {}", crash.pid())?;
        writeln!(to, "time: {}", now.rfc3339())?;
        writeln!(to, "attempt: {}", self.attempt)?;
        writeln!(to, "program: {}", escaped(program().as_os_str().as_bytes()))?;
        spec.write_header(to)?;

        section(
            to,
            "backtrace:",
            truncate(crash.backtrace().unwrap_or_default()),
        )?;
        section(to, "stderr:", crash.stderr())?;
        section(to, "to run this task again:", &replay_command(path, ""))?;
        section(
            to,
            "to run it in a debugger:",
            &replay_command(path, DEBUGGER),
        )?;

        writeln!(to, "{INPUT}")?;
        let mut line = [0; 4 * BYTES_IN_LINE.div_ceil(3) + 1];
        for bytes in self.input.chunks(BYTES_IN_LINE) {
            let len = STANDARD
                .encode_slice(bytes, &mut line)
                .map_err(|e| io::Error::other(e.to_string()))?;
            line[len] = b'\n';
            to.write_all(&line[..=len])?;
        }
        sum.add(self.input);
        writeln!(to, "end: {}", sum.hex())
    }

    fn spec(&self) -> io::Result<ReplaySpec> {
        let [entry, function] = self.plan.to_words();
        let setup = self.setup.cloned().unwrap_or_default();
        // A worker begins where the program is.
        let here = std::env::current_dir().ok();
        let directory = match setup.current_dir.map(OsString::from_vec) {
            Some(there) => Some(here.unwrap_or_default().join(there)),
            None => here,
        };
        Ok(ReplaySpec {
            build: build_id()?.to_owned(),
            entry,
            function,
            initializer: self.initializer,
            directory: directory.map(|d| d.into_os_string().into_vec()),
            clear_environment: setup.env_clear,
            variables: setup.env,
            descriptors: self.descriptors as u64,
            length: self.input.len() as u64,
            context: self.context.filter(|_| !self.uses_state).map(str::to_owned),
            state: self.context.filter(|_| self.uses_state).map(str::to_owned),
            libraries: self.libraries(),
        })
    }

    /// Those that what is run again may lie in.
    fn libraries(&self) -> Vec<Library> {
        let needed = match self.initializer.is_some() || self.uses_state {
            true => library::all(),
            false => library::needed_by(self.plan.to_words()),
        };
        needed.iter().map(|it| Library::clone(it)).collect()
    }
}

/// Has the crash say why there is no file.
pub(crate) fn attach_error(crash: &mut impl KeptEnd, why: String) {
    events::crash_file_not_written(crash.pid(), crash.task(), &why);
    crash.set_file(Err(why));
}

/// Makes the directory for crash files if it is missing, and sees that files can be made in it.
/// Returns its absolute path: the program may change its own directory before a worker crashes.
pub(crate) fn create_dir(dir: &Path) -> io::Result<PathBuf> {
    let told = |e: io::Error| {
        let what = format!("no crash files can be kept in {}: {e}", dir.display());
        io::Error::new(e.kind(), what)
    };
    let absolute = std::path::absolute(dir).map_err(told)?;
    create_private_dir(&absolute).map_err(told)?;
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(&absolute, access).map_err(|e| told(e.into()))?;
    Ok(absolute)
}

impl ReplaySpec {
    fn write_header(&self, to: &mut impl Write) -> io::Result<()> {
        writeln!(to, "build: {}", self.build)?;
        writeln!(to, "entry: {:#x}", self.entry)?;
        writeln!(to, "function: {:#x}", self.function)?;
        if let Some(initializer) = self.initializer {
            writeln!(to, "initializer: {initializer:#x}")?;
        }
        if let Some(directory) = &self.directory {
            writeln!(to, "directory: {}", escaped(directory))?;
        }
        if self.clear_environment {
            writeln!(to, "clear environment: yes")?;
        }
        for (key, value) in &self.variables {
            writeln!(to, "variable: {}={}", escaped(key), escaped(value))?;
        }
        if let Some(context) = &self.context {
            writeln!(to, "context: {}", escaped(context.as_bytes()))?;
        }
        if let Some(state) = &self.state {
            writeln!(to, "state: {}", escaped(state.as_bytes()))?;
        }
        for library in &self.libraries {
            let Library {
                number,
                path,
                build_id,
            } = library;
            let id: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = escaped(path.as_os_str().as_bytes());
            writeln!(to, "library: {number} {id} {path}")?;
        }
        writeln!(to, "descriptors: {}", self.descriptors)?;
        writeln!(to, "input length: {}", self.length)?;
        writeln!(to)
    }
}

/// Writes text from elsewhere, or for people: indented.
fn section(to: &mut impl Write, title: &str, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    writeln!(to, "{title}")?;
    for line in text.lines() {
        writeln!(to, "    {}", escape_for_display(line))?;
    }
    Ok(())
}

fn truncate(text: &str) -> &str {
    &text[..floor_char_boundary(text, MAX_BACKTRACE)]
}

/// A task's name, fit for a file's: its end, which says most.
fn file_name(task: &str) -> String {
    let mut name = String::with_capacity(task.len());
    for c in task.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    // All of it is ASCII.
    let end = name[name.len().saturating_sub(MAX_NAME)..].trim_matches('-');
    if end.is_empty() { "task" } else { end }.to_owned()
}

fn create_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// A file that is not whole yet: gone when dropped.
struct TempFile {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl TempFile {
    /// Takes the first free name of this kind. Returns its path, and the file beside it that only
    /// this writer has: another that wants the same name has to create the same file, and fails.
    fn create(dir: &Path, name: &str) -> io::Result<(PathBuf, TempFile)> {
        for n in 1..=MAX_SAME_NAME {
            let number = if n == 1 {
                String::new()
            } else {
                format!("-{n}")
            };
            let path = dir.join(format!("{name}{number}.crash"));
            let part = dir.join(format!("{name}{number}.crash.part"));
            let opened = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&part);
            let part = match opened {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => TempFile {
                    path: part,
                    file: lifted(opened?.into())?.into(),
                    finished: false,
                },
            };
            // Looked for when the part is ours: from now on no other writer makes it.
            if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
                return Ok((path, part));
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("there are too many files called {name}"),
        ))
    }

    fn finish(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        assert_eq!(file_name("thumbnails::decode"), "thumbnails-decode");
        assert_eq!(
            file_name("closure at src/main.rs:3:7 (cook)"),
            "closure-at-src-main-rs-3-7-cook"
        );
        assert_eq!(file_name("../../etc/passwd"), "etc-passwd");
        assert_eq!(file_name("äöü"), "task");
        assert_eq!(file_name(&"x".repeat(300)).len(), MAX_NAME);
    }
}
