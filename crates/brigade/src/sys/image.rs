//! The program in memory: where it was loaded, which build it is, what has to run before `main`.
//!
//! A worker is the same file loaded at another address, so a function travels as its distance from
//! the load address. dl_iterate_phdr(3), elf(5).

use std::ffi::{CStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One loaded object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// The path it was loaded from; the main program's is empty.
    pub(crate) path: OsString,
    /// What is added to the addresses in its file.
    pub(crate) bias: usize,
    /// The module's first and last+1 address in memory.
    pub(crate) range: std::ops::Range<usize>,
}

impl Module {
    pub(super) fn of(info: &libc::dl_phdr_info) -> Option<Module> {
        let bias = info.dlpi_addr as usize;
        let loads = || headers(info).iter().filter(|h| h.p_type == libc::PT_LOAD);
        let low = loads().map(|h| bias + h.p_vaddr as usize).min()?;
        let ends = loads().map(|h| bias + (h.p_vaddr + h.p_memsz) as usize);
        let path = if info.dlpi_name.is_null() {
            OsString::new()
        } else {
            // SAFETY: the loader's name of the object, a C string that lives as long as the object
            // is loaded, which the call-back that `info` is of guarantees.
            let name = unsafe { CStr::from_ptr(info.dlpi_name) };
            OsString::from_vec(name.to_bytes().to_vec())
        };
        Some(Module {
            path,
            bias,
            range: low..ends.max()?,
        })
    }
}

/// The main program.
#[derive(Clone, Debug)]
pub(crate) struct ProgramImage {
    pub(crate) bias: usize,
    /// Executable segments, as address ranges in memory.
    text: Vec<std::ops::Range<usize>>,
    /// The GNU build id note, if the linker wrote one.
    pub(crate) build_id: Vec<u8>,
    init_array: std::ops::Range<usize>,
}

impl ProgramImage {
    /// This process's program.
    pub(crate) fn this() -> &'static ProgramImage {
        static THIS: OnceLock<ProgramImage> = OnceLock::new();
        THIS.get_or_init(ProgramImage::read)
    }

    /// The distance of `address` from the load address, if it is code of the main program.
    pub(crate) fn offset_of(&self, address: usize) -> Option<u64> {
        self.text
            .iter()
            .any(|t| t.contains(&address))
            .then(|| (address - self.bias) as u64)
    }

    /// The address of the code at `offset`, if there is any.
    pub(crate) fn address_of(&self, offset: u64) -> Option<usize> {
        let address = self.bias.wrapping_add(usize::try_from(offset).ok()?);
        self.text
            .iter()
            .any(|t| t.contains(&address))
            .then_some(address)
    }

    fn read() -> ProgramImage {
        let mut program = None;
        // The first object is the main program: dl_iterate_phdr(3).
        each_module(&mut |info| {
            let Code {
                bias,
                text,
                build_id,
            } = Code::of(info);
            program = Some(ProgramImage {
                bias,
                text,
                build_id,
                init_array: init_array(info),
            });
            false
        });
        program.unwrap_or(ProgramImage {
            bias: 0,
            text: Vec::new(),
            build_id: Vec::new(),
            init_array: 0..0,
        })
    }
}

/// The code of one loaded object.
pub(super) struct Code {
    pub(super) bias: usize,
    /// Executable segments, as address ranges in memory.
    pub(super) text: Vec<std::ops::Range<usize>>,
    /// The GNU build id note, if the linker wrote one.
    pub(super) build_id: Vec<u8>,
}

impl Code {
    pub(super) fn of(info: &libc::dl_phdr_info) -> Code {
        let bias = info.dlpi_addr as usize;
        let range = |header: &libc::Elf64_Phdr| {
            let start = bias.wrapping_add(header.p_vaddr as usize);
            start..start.saturating_add(header.p_memsz as usize)
        };
        let loaded = || headers(info).iter().filter(|h| h.p_type == libc::PT_LOAD);
        let text = loaded().filter(|h| h.p_flags & libc::PF_X != 0);
        let mut build_id = Vec::new();
        for header in headers(info).iter().filter(|h| h.p_type == libc::PT_NOTE) {
            let at = range(header);
            let is_loaded = |of: &libc::Elf64_Phdr| {
                let readable = of.p_flags & libc::PF_R != 0;
                readable && range(of).start <= at.start && at.end <= range(of).end
            };
            if !loaded().any(is_loaded) {
                continue;
            }
            // SAFETY: the loader mapped this, readable, for as long as the object is loaded, which
            // the call-back that `info` is of guarantees: the note lies in a loaded segment.
            let notes = unsafe { std::slice::from_raw_parts(at.start as *const u8, at.len()) };
            if let Some(id) = note(notes, header.p_align as usize, GNU, BUILD_ID) {
                build_id = id.to_vec();
            }
        }
        Code {
            bias,
            text: text.map(range).collect(),
            build_id,
        }
    }
}

/// Where the main program has its constructors.
fn init_array(info: &libc::dl_phdr_info) -> std::ops::Range<usize> {
    const DT_INIT_ARRAY: usize = 25;
    const DT_INIT_ARRAYSZ: usize = 27;
    let bias = info.dlpi_addr as usize;
    let mut dynamic = headers(info)
        .iter()
        .filter(|h| h.p_type == libc::PT_DYNAMIC);
    let Some(header) = dynamic.next() else {
        return 0..0;
    };
    // SAFETY: the loader mapped this, readable, for as long as the program runs, and has read it
    // itself: an array of pairs of words. What the program's own file says is believed.
    let entries = unsafe {
        std::slice::from_raw_parts(
            (bias + header.p_vaddr as usize) as *const [usize; 2],
            header.p_memsz as usize / size_of::<[usize; 2]>(),
        )
    };
    let value = |tag: usize| {
        let mut entries = entries.iter().take_while(|e| e[0] != 0);
        entries.find(|e| e[0] == tag).map(|e| e[1])
    };
    match (value(DT_INIT_ARRAY), value(DT_INIT_ARRAYSZ)) {
        (Some(at), Some(size)) => bias + at..bias + at + size,
        _ => 0..0,
    }
}

/// All loaded objects, the main program first.
pub(crate) fn modules() -> Vec<Module> {
    let mut all = Vec::new();
    each_module(&mut |info| {
        if let Some(mut module) = Module::of(info) {
            if all.is_empty() {
                module.path.clear();
            }
            all.push(module);
        }
        true
    });
    all
}

/// Where code of this process lies in another one that has loaded the same files.
#[derive(Debug)]
struct Moved {
    here: std::ops::Range<usize>,
    there: usize,
}

static MOVED: OnceLock<Vec<Moved>> = OnceLock::new();

/// From now on, [`as_there`] tells addresses as they are in the process that has these modules.
pub(crate) fn lies_elsewhere(mut there: Vec<Module>) {
    let moved = modules().into_iter().filter_map(|here| {
        // A file may be loaded twice; they are listed in the order of loading.
        let at = there.iter().position(|m| m.path == here.path)?;
        let there = there.remove(at).range.start;
        Some(Moved {
            here: here.range,
            there,
        })
    });
    let _ = MOVED.set(moved.collect());
}

/// As [`Moved`], of a library that was loaded since: read by signal handlers, so without a lock.
struct LoadedSince {
    start: AtomicUsize,
    end: AtomicUsize,
    there: AtomicUsize,
}

/// The most that are told.
pub(crate) const MOST_LOADED: usize = 64;

static LOADED_SINCE: [LoadedSince; MOST_LOADED] = [const {
    LoadedSince {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        there: AtomicUsize::new(0),
    }
}; MOST_LOADED];
static LOADED_COUNT: AtomicUsize = AtomicUsize::new(0);

/// From now on, [`as_there`] tells addresses in this range as if it began there. Called by one
/// thread at a time.
pub(crate) fn is_told_as(here: &std::ops::Range<usize>, there: usize) {
    let count = LOADED_COUNT.load(Ordering::Relaxed);
    let Some(next) = LOADED_SINCE.get(count) else {
        return;
    };
    next.start.store(here.start, Ordering::Relaxed);
    next.end.store(here.end, Ordering::Relaxed);
    next.there.store(there, Ordering::Relaxed);
    LOADED_COUNT.store(count + 1, Ordering::Release);
}

/// An address of code, as the process has it that tells what is there. Allocates nothing.
pub(crate) fn as_there(address: usize) -> usize {
    let mut all = MOVED.get().into_iter().flatten();
    if let Some(moved) = all.find(|m| m.here.contains(&address)) {
        return moved.there.wrapping_add(address - moved.here.start);
    }
    let count = LOADED_COUNT.load(Ordering::Acquire).min(MOST_LOADED);
    for loaded in &LOADED_SINCE[..count] {
        let start = loaded.start.load(Ordering::Relaxed);
        if (start..loaded.end.load(Ordering::Relaxed)).contains(&address) {
            return (loaded.there.load(Ordering::Relaxed)).wrapping_add(address - start);
        }
    }
    address
}

/// A constructor, as the loader calls it.
pub(crate) type Constructor =
    extern "C" fn(libc::c_int, *const *const libc::c_char, *const *const libc::c_char);

/// Runs the constructors that the loader would have called after `current`.
///
/// # Safety
/// Called from the constructor `current` itself, before `main`, in a process that never goes on to
/// them by itself.
pub(crate) unsafe fn run_constructors_after(
    current: Constructor,
    argc: libc::c_int,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) {
    let range = &ProgramImage::this().init_array;
    let count = range.len() / size_of::<usize>();
    if count == 0 {
        return;
    }
    // SAFETY: DT_INIT_ARRAY is an array of that many words, relocated by the loader before it
    // called any of them.
    let entries = unsafe { std::slice::from_raw_parts(range.start as *const usize, count) };
    let Some(at) = entries.iter().position(|&e| e == current as usize) else {
        return;
    };
    for &entry in &entries[at + 1..] {
        // The ABI allows 0 and -1 as fillers.
        if entry != 0 && entry != usize::MAX {
            // SAFETY: an entry of the init array is a function of this type; the loader would call
            // it next, with these arguments.
            let constructor = unsafe { std::mem::transmute::<usize, Constructor>(entry) };
            constructor(argc, argv, envp);
        }
    }
}

fn headers(info: &libc::dl_phdr_info) -> &[libc::Elf64_Phdr] {
    if info.dlpi_phdr.is_null() {
        return &[];
    }
    // SAFETY: the loader gives the table and its length, both valid during the call-back that
    // `info` is borrowed for.
    unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
}

/// Calls `f` for each loaded object until it says `false`.
pub(super) fn each_module(f: &mut dyn FnMut(&libc::dl_phdr_info) -> bool) {
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        data: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: `data` is the pointer given below, to a closure that lives across the whole
        // iteration.
        let f = unsafe { &mut *data.cast::<&mut dyn FnMut(&libc::dl_phdr_info) -> bool>() };
        // SAFETY: the loader gives a valid `info` for the duration of this call.
        let go_on = f(unsafe { &*info });
        libc::c_int::from(!go_on)
    }
    let mut f = f;
    // SAFETY: `visit` is called before this returns, with the pointer to `f`, which lives here.
    // None of our closures unwinds for other reasons than a failed allocation, which aborts.
    unsafe { libc::dl_iterate_phdr(Some(visit), std::ptr::from_mut(&mut f).cast()) };
}

/// The owner of the note that is the build id, and its type: `NT_GNU_BUILD_ID`, elf(5).
pub(super) const GNU: &[u8] = b"GNU\0";
pub(super) const BUILD_ID: u32 = 3;

/// Finds what the note of this owner and type says, among ELF notes aligned like this: elf(5).
/// Malformed notes say nothing.
pub(super) fn note<'n>(
    mut notes: &'n [u8],
    align: usize,
    owner: &[u8],
    kind: u32,
) -> Option<&'n [u8]> {
    fn word(bytes: &[u8], at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    }
    // Linkers write 8 for notes of that alignment, and 0, 1 or 4 for all others.
    let align = if align == 8 { 8 } else { 4 };
    while let (Some(name), Some(desc), Some(its)) = (word(notes, 0), word(notes, 4), word(notes, 8))
    {
        let (name, desc) = (name as usize, desc as usize);
        let at = (12 + name).next_multiple_of(align);
        let said = notes.get(at..at.checked_add(desc)?)?;
        if its == kind && notes.get(12..12 + name) == Some(owner) {
            return Some(said);
        }
        notes = notes.get(at + desc.next_multiple_of(align)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_goes_there_and_back() {
        let program = ProgramImage::this();
        let address = a_function_goes_there_and_back as fn() as usize;
        let offset = program.offset_of(address).expect("code of this program");
        assert_eq!(program.address_of(offset), Some(address));
    }

    #[test]
    fn what_is_no_code_of_the_program_has_no_offset() {
        let program = ProgramImage::this();
        let on_the_stack = 0_u8;
        assert_eq!(
            program.offset_of(std::ptr::from_ref(&on_the_stack) as usize),
            None
        );
        assert_eq!(program.offset_of(libc::getpid as *const () as usize), None);
        assert_eq!(program.address_of(u64::MAX), None);
    }

    #[test]
    fn notes_that_are_cut_or_lie_are_no_build_id() {
        let mut note = Vec::new();
        for word in [4_u32, 4, 3] {
            note.extend(word.to_ne_bytes());
        }
        note.extend(b"GNU\0\x01\x02\x03\x04");
        let build_id = |notes: &[u8]| super::note(notes, 4, GNU, BUILD_ID).map(<[u8]>::to_vec);
        assert_eq!(build_id(&note), Some(vec![1, 2, 3, 4]));
        for cut in 0..note.len() {
            assert_eq!(build_id(&note[..cut]), None);
        }
        let two = [&note[..], &note].concat();
        assert_eq!(super::note(&two, 4, b"GNU\0", 4), None);
        note[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(build_id(&note), None);
    }

    #[test]
    fn the_main_program_is_the_first_module() {
        let all = modules();
        assert_eq!(all[0].path, "");
        assert!(
            all[0]
                .range
                .contains(&(modules as fn() -> Vec<Module> as usize))
        );
    }
}
