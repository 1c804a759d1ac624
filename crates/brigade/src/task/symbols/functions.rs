//! The functions of a program file, by their addresses.
//!
//! Problem: a table of all symbols answers for any address with whatever lies before it: in a
//! stripped library a function without a symbol gets the name of another one, and symbols of data
//! that is never loaded (those of `-C instrument-coverage`) have addresses of code. So this has
//! functions only, and only as far as each is long. elf(5).
//!
//! A program may have hundreds of thousands of them: where a name is in the file is kept, and not
//! the name. It is read when it is asked for, from the same file, and if that is no longer there it
//! has no name.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{FileHeader, SectionHeader, Sym};
use rustix::fs::OFlags;

use crate::sys::opened;

/// Longer ones are cut.
const LONGEST_NAME: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct Functions {
    path: PathBuf,
    file: FileId,
    /// Where the names are in the file, and where they end.
    names: (u64, u64),
    /// By their addresses; of those with the same one, the one to name it by comes last.
    all: Vec<NamedRange>,
}

#[derive(Clone, Copy, Debug)]
struct NamedRange {
    start: u64,
    len: u64,
    /// Where its name is, from the start of the names.
    name: u32,
}

/// Which file it is, and which state of it.
#[derive(Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    number: u64,
    changed: (i64, u64),
}

impl Functions {
    /// Those of the program or library at this path. `None`: it has none.
    pub(super) fn read(path: &Path) -> Option<Functions> {
        let (file, id) = open(path)?;
        let cache = ReadCache::new(file);
        let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, &cache).ok()?;
        // What a stripped file still has is what it exports.
        let symbols = [elf::SHT_SYMTAB, elf::SHT_DYNSYM]
            .into_iter()
            .filter_map(|table| sections.symbols(endian, &cache, table).ok())
            .find(|symbols| !symbols.is_empty())?;
        let names = sections.section(symbols.string_section()).ok()?;
        let (start, len) = names.file_range(endian)?;
        let mut all: Vec<(bool, NamedRange)> = symbols
            .iter()
            .filter(|symbol| symbol.st_type() == elf::STT_FUNC && !symbol.is_undefined(endian))
            .map(|symbol| {
                let function = NamedRange {
                    start: symbol.st_value(endian),
                    len: symbol.st_size(endian),
                    name: symbol.st_name(endian),
                };
                (symbol.st_bind() != elf::STB_LOCAL, function)
            })
            .collect();
        // Stable: of those that are equal in this, later ones tend to be more specific.
        all.sort_by_key(|(is_global, function)| (function.start, *is_global));
        (!all.is_empty()).then(|| Functions {
            path: path.to_owned(),
            file: id,
            names: (start, start.saturating_add(len)),
            all: all.into_iter().map(|(_, function)| function).collect(),
        })
    }

    /// The name, as the linker knows it, of the function that this address of the file is in.
    pub(super) fn name_at(&self, at: u64) -> Option<String> {
        self.named_at(at).next_back().and_then(|f| self.name(f))
    }

    /// The names of all functions that begin where that one does: its own first.
    pub(super) fn names_at(&self, at: u64) -> impl Iterator<Item = String> + '_ {
        self.named_at(at).rev().filter_map(|f| self.name(f))
    }

    /// What begins where the function does that this address is in: that one comes last.
    fn named_at(&self, at: u64) -> std::slice::Iter<'_, NamedRange> {
        let before = &self.all[..self.all.partition_point(|function| function.start <= at)];
        match before.last() {
            // What is written in assembly may not say how long it is.
            Some(last) if last.len == 0 || at - last.start < last.len => {
                let first = before.partition_point(|function| function.start < last.start);
                before[first..].iter()
            }
            _ => [].iter(),
        }
    }

    fn name(&self, function: &NamedRange) -> Option<String> {
        let (file, id) = open(&self.path)?;
        if id != self.file {
            return None;
        }
        let (start, end) = self.names;
        let start = start.checked_add(u64::from(function.name))?;
        let end = end.min(start.saturating_add(LONGEST_NAME));
        let mut name = Vec::new();
        // Most are within the first piece.
        let mut piece = [0; 512];
        loop {
            let at = start.checked_add(name.len() as u64)?;
            let room = piece
                .len()
                .min(usize::try_from(end.saturating_sub(at)).ok()?);
            let read = file.read_at(&mut piece[..room], at).ok()?;
            let ends = piece[..read].iter().position(|&byte| byte == 0);
            name.extend_from_slice(&piece[..ends.unwrap_or(read)]);
            if ends.is_some() || read == 0 {
                break;
            }
        }
        Some(String::from_utf8_lossy(&name).into_owned()).filter(|name| !name.is_empty())
    }
}

fn open(path: &Path) -> Option<(std::fs::File, FileId)> {
    let file = opened::file(path, OFlags::RDONLY).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let id = FileId {
        device: stat.st_dev,
        number: stat.st_ino,
        changed: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
    };
    Some((file.into(), id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::image;

    fn this_program() -> Functions {
        Functions::read(Path::new("/proc/self/exe")).expect("this program has functions")
    }

    fn at(function: fn()) -> u64 {
        image::ProgramImage::this()
            .offset_of(function as usize)
            .expect("a function of this program")
    }

    #[inline(never)]
    fn found() {
        std::hint::black_box(());
    }

    #[inline(never)]
    fn folded() {
        std::hint::black_box("another");
    }

    #[test]
    fn a_function_is_found_by_each_of_its_addresses_and_no_other() {
        let functions = this_program();
        let index = functions.all.partition_point(|f| f.start <= at(found)) - 1;
        let function = functions.all[index];
        assert_eq!(function.start, at(found));
        for at in [function.start, function.start + function.len - 1] {
            let name = functions.name_at(at).expect("it has a name");
            assert!(name.contains("found"), "{name}");
        }
        let first = functions.all[0].start;
        assert_eq!(functions.name_at(first - 1), None);
    }

    /// As a linker leaves it that has folded functions with equal code.
    #[test]
    fn all_names_of_one_address_are_found() {
        let mut functions = this_program();
        let find = |all: &[NamedRange], at| all.partition_point(|f| f.start <= at) - 1;
        let index = find(&functions.all, at(found));
        let folded = functions.all[find(&functions.all, at(folded))];
        functions.all.insert(
            index,
            NamedRange {
                name: folded.name,
                ..functions.all[index]
            },
        );
        let names: Vec<_> = functions.names_at(at(found)).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(
            names[0].contains("found") && names[1].contains("folded"),
            "{names:?}"
        );
        assert_eq!(functions.name_at(at(found)), Some(names[0].clone()));
        assert_eq!(functions.names_at(functions.all[0].start - 1).count(), 0);
    }

    #[test]
    fn an_address_between_functions_has_no_name() {
        let mut functions = this_program();
        let index = functions.all.partition_point(|f| f.start <= at(found)) - 1;
        functions.all[index].len = 1;
        assert!(functions.name_at(at(found)).is_some());
        assert_eq!(functions.name_at(at(found) + 1), None);
    }

    #[test]
    fn of_a_stripped_library_there_are_those_that_it_exports() {
        let modules = image::modules();
        let library = modules
            .iter()
            .find(|m| m.path.to_string_lossy().contains("libc.so"));
        let Some(library) = library else {
            eprintln!("skipped, because this program has no C library of its own file");
            return;
        };
        let functions = Functions::read(Path::new(&library.path)).expect("it exports some");
        let at = (libc::getpid as *const () as usize - library.bias) as u64;
        let name = functions.name_at(at).expect("it is exported");
        assert!(name.contains("getpid"), "{name}");
    }

    #[test]
    fn what_is_no_program_has_none_and_one_that_was_replaced_has_no_names() {
        assert!(Functions::read(Path::new("/proc/self/maps")).is_none());
        assert!(Functions::read(Path::new("/nowhere")).is_none());
        let mut functions = this_program();
        functions.file.number += 1;
        assert_eq!(functions.name_at(at(found)), None);
    }
}
