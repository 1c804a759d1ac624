//! Plain numbers: what is in memory as it is in a message, so that many of them are one copy.

#![expect(
    unsafe_code,
    reason = "says again what type a value is, which generic code has forgotten"
)]

use std::any::TypeId;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use bytemuck::AnyBitPattern;
use serde::de::DeserializeSeed;

/// How many kinds there are.
pub(super) const KINDS: u8 = 12;

/// A kind of number. Its discriminant is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum NumberKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    U128,
    I128,
    F32,
    F64,
}

impl NumberKind {
    const ALL: [NumberKind; KINDS as usize] = [
        NumberKind::U8,
        NumberKind::I8,
        NumberKind::U16,
        NumberKind::I16,
        NumberKind::U32,
        NumberKind::I32,
        NumberKind::U64,
        NumberKind::I64,
        NumberKind::U128,
        NumberKind::I128,
        NumberKind::F32,
        NumberKind::F64,
    ];

    #[inline]
    pub(super) fn from_number(number: u8) -> Option<NumberKind> {
        NumberKind::ALL.get(usize::from(number)).copied()
    }

    /// Bytes of one number.
    #[inline]
    pub(super) const fn size(self) -> usize {
        match self {
            NumberKind::U8 | NumberKind::I8 => 1,
            NumberKind::U16 | NumberKind::I16 => 2,
            NumberKind::U32 | NumberKind::I32 | NumberKind::F32 => 4,
            NumberKind::U64 | NumberKind::I64 | NumberKind::F64 => 8,
            NumberKind::U128 | NumberKind::I128 => 16,
        }
    }
}

/// Many numbers of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumberRun<'m> {
    pub(super) kind: NumberKind,
    pub(super) count: usize,
    /// Whether they are an array, of at most 32.
    pub(super) is_array: bool,
    /// The numbers as they are in memory, which is how a message has them: both ends are one
    /// machine.
    pub(super) bytes: &'m [u8],
}

/// Calls a macro with each type of number and its kind. Serde writes `usize` and `isize` as 64
/// bits, which is what they are on all processors that the crate compiles for.
macro_rules! for_each_number {
    ($with:ident) => {
        $with! {
            u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64,
            usize => U64, isize => I64, u128 => U128, i128 => I128, f32 => F32, f64 => F64
        }
    };
}

/// Whether the type is an array of `len` numbers: at least one, and at most 32, which is the
/// longest that serde knows.
#[inline(always)]
fn is_array_of<N: 'static>(id: TypeId, len: usize) -> bool {
    macro_rules! any {
        ($($len:literal)*) => {
            match len {
                $($len => id == TypeId::of::<[N; $len]>(),)*
                _ => false,
            }
        };
    }
    any!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
}

/// Which numbers a type is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The type is no vector and no array of plain numbers.
    Other,
    Vector(NumberKind),
    Array(NumberKind, usize),
}

/// What the type with this identity and size is. All comparisons are between constants: in
/// optimized code nothing is left of them. Otherwise they have a frame of their own: they would be
/// part of each level of a nested value, and use up the stack.
#[cfg_attr(not(debug_assertions), inline(always))]
fn layout(id: TypeId, size: usize) -> Layout {
    if size == size_of::<Vec<u8>>() {
        macro_rules! vectors {
            ($($number:ty => $kind:ident),*) => {
                $(if id == TypeId::of::<Vec<$number>>() {
                    return Layout::Vector(NumberKind::$kind);
                })*
            };
        }
        for_each_number!(vectors);
    }
    macro_rules! arrays {
        ($($number:ty => $kind:ident),*) => {
            $(
                const { assert!(size_of::<$number>() == NumberKind::$kind.size()) };
                let len = size / size_of::<$number>();
                if is_array_of::<$number>(id, len) {
                    return Layout::Array(NumberKind::$kind, len);
                }
            )*
        };
    }
    for_each_number!(arrays);
    Layout::Other
}

/// The numbers in `value`, where it is a vector or an array of plain numbers, or a reference to a
/// vector, which is what collections give of their elements.
#[inline(always)]
pub(super) fn run_of<T: ?Sized>(value: &T) -> Option<NumberRun<'_>> {
    let at = std::ptr::from_ref(value);
    if size_of_val(value) == size_of::<&Vec<u8>>() {
        macro_rules! referred {
            ($($number:ty => $kind:ident),*) => {
                $(if typeid::of::<T>() == TypeId::of::<&Vec<$number>>() {
                    // SAFETY: `typeid::of` names a type but for its lifetimes: `T` is a reference
                    // to a `Vec<$number>`, which lives as long as it is borrowed here.
                    let vector = unsafe { *at.cast::<&Vec<$number>>() };
                    return Some(NumberRun {
                        kind: NumberKind::$kind,
                        count: vector.len(),
                        is_array: false,
                        bytes: bytemuck::cast_slice(vector.as_slice()),
                    });
                })*
            };
        }
        for_each_number!(referred);
    }
    match layout(typeid::of::<T>(), size_of_val(value)) {
        Layout::Other => None,
        Layout::Vector(kind) => {
            macro_rules! bytes {
                ($($number:ty => $kind:ident),*) => {
                    $(if typeid::of::<T>() == TypeId::of::<Vec<$number>>() {
                        // SAFETY: `typeid::of` names a type but for its lifetimes, and this one has
                        // none: `T` is `Vec<$number>`.
                        let vector = unsafe { &*at.cast::<Vec<$number>>() };
                        return Some(NumberRun { kind, count: vector.len(), is_array: false, bytes: bytemuck::cast_slice(vector.as_slice()) });
                    })*
                };
            }
            for_each_number!(bytes);
            None
        }
        Layout::Array(kind, count) => {
            // SAFETY: `T` is an array of `count` numbers, by its identity as above: `count` times
            // their size in bytes, all of them initialized.
            let bytes = unsafe { std::slice::from_raw_parts(at.cast::<u8>(), count * kind.size()) };
            Some(NumberRun {
                kind,
                count,
                is_array: true,
                bytes,
            })
        }
    }
}

/// What `T` is.
#[inline(always)]
pub(super) fn layout_of<T>() -> Layout {
    layout(typeid::of::<T>(), size_of::<T>())
}

/// What a seed makes, where it is the one that serde's derive and collections use.
#[inline(always)]
pub(super) fn wanted_by<'de, S: DeserializeSeed<'de>>() -> Layout {
    // A seed of another type may want something else done than its value's type says.
    if size_of::<S>() == 0 && typeid::of::<S>() == typeid::of::<PhantomData<S::Value>>() {
        layout_of::<S::Value>()
    } else {
        Layout::Other
    }
}

/// The vector that a run is, where `T` is one of just this kind.
#[inline(always)]
pub(super) fn vector_of<T>(run: NumberRun<'_>) -> Option<T> {
    macro_rules! vector {
        ($($number:ty => $kind:ident),*) => {
            $(if typeid::of::<T>() == TypeId::of::<Vec<$number>>() && run.kind == NumberKind::$kind {
                let vector = ManuallyDrop::new(copied::<$number>(run.bytes));
                // SAFETY: as in `run_of`, `T` is `Vec<$number>`. The vector is moved: the original
                // is not dropped.
                return Some(unsafe { std::mem::transmute_copy::<ManuallyDrop<Vec<$number>>, T>(&vector) });
            })*
        };
    }
    for_each_number!(vector);
    None
}

/// The vector that begins at `at` of a file, where `T` is one of just this kind. It is read where
/// it is to be.
#[cfg(all(target_os = "linux", not(brigade_portable)))]
#[inline(always)]
pub(super) fn vector_in<T>(
    file: &crate::sys::value_file::ValueFile,
    at: usize,
    of: NumberKind,
) -> Option<std::io::Result<T>> {
    macro_rules! vector {
        ($($number:ty => $kind:ident),*) => {
            $(if typeid::of::<T>() == TypeId::of::<Vec<$number>>() && of == NumberKind::$kind {
                return Some(file.numbers::<$number>(at).map(|vector| {
                    let vector = ManuallyDrop::new(vector);
                    // SAFETY: as in `vector_of`.
                    unsafe { std::mem::transmute_copy::<ManuallyDrop<Vec<$number>>, T>(&vector) }
                }));
            })*
        };
    }
    for_each_number!(vector);
    None
}

/// The bytes of an array of plain numbers.
pub(super) struct ArrayBytes<'m, T>(&'m [u8], PhantomData<T>);

impl<'m, T> ArrayBytes<'m, T> {
    /// `None`: `T` is no array of plain numbers, or not of `bytes.len()` bytes.
    #[inline(always)]
    pub(super) fn new(bytes: &'m [u8]) -> Option<Self> {
        match layout_of::<T>() {
            Layout::Array(..) if size_of::<T>() == bytes.len() => {
                Some(ArrayBytes(bytes, PhantomData))
            }
            _ => None,
        }
    }

    /// The array. By way of an option it would be copied once more.
    #[inline(always)]
    pub(super) fn read(self) -> T {
        // SAFETY: `new` has seen that `T` is an array of numbers, for which any bytes will do, and
        // that there are as many as it has.
        unsafe { self.0.as_ptr().cast::<T>().read_unaligned() }
    }
}

/// So much of the room of a vector, which is there, is filled now, for the first time.
#[inline]
pub(super) fn about_to_fill<T>(_vector: &mut Vec<T>, _count: usize) {
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    crate::sys::mapping::ask_for_huge_pages(&mut _vector.spare_capacity_mut()[.._count]);
}

/// The numbers that these bytes are, in one copy also where nothing is optimized.
fn copied<T: AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    let count = bytes.len() / size_of::<T>();
    let mut numbers = Vec::<T>::with_capacity(count);
    about_to_fill(&mut numbers, count);
    // SAFETY: there is room for `count` numbers, and there are bytes for as many. The room is new,
    // so the two do not overlap. Any bytes are a `T`.
    unsafe {
        let room = numbers.as_mut_ptr().cast::<u8>();
        room.copy_from_nonoverlapping(bytes.as_ptr(), count * size_of::<T>());
        numbers.set_len(count);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_arrays_of_numbers_are_known_by_their_types() {
        let numbers = vec![1.5_f64, f64::from_bits(0x7ff8_dead_beef_0001)];
        let run = run_of(&numbers).expect("numbers");
        assert_eq!(
            (run.kind, run.count, run.bytes.len()),
            (NumberKind::F64, 2, 16)
        );
        let bits = |numbers: &[f64]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            bits(&vector_of::<Vec<f64>>(run).expect("the same")),
            bits(&numbers)
        );
        let array = ArrayBytes::<[f64; 2]>::new(run.bytes).expect("an array");
        assert_eq!(bits(&array.read()), bits(&numbers));
        assert!(vector_of::<Vec<u64>>(run).is_none(), "another kind");
        assert!(ArrayBytes::<[f64; 3]>::new(run.bytes).is_none(), "longer");
        assert!(ArrayBytes::<(f64, f64)>::new(run.bytes).is_none());
        assert!(vector_of::<String>(run).is_none());

        let run = run_of(&[7_u16; 32]).expect("numbers");
        assert_eq!(
            (run.kind, run.count, run.bytes.len()),
            (NumberKind::U16, 32, 64)
        );
        let array = ArrayBytes::<[u16; 32]>::new(run.bytes).expect("an array");
        assert_eq!(array.read(), [7; 32]);
        assert_eq!(vector_of::<Vec<u16>>(run), Some(vec![7; 32]));

        let by_reference = &numbers;
        let run = run_of(&by_reference).expect("numbers");
        assert_eq!(
            (run.kind, run.count, run.bytes.len()),
            (NumberKind::F64, 2, 16)
        );
        assert!(run_of(&&String::new()).is_none());
        assert!(run_of(&[7_u16; 33]).is_none(), "serde does not know it");
        assert!(run_of(&[0_u8; 0]).is_none());
        assert!(run_of(&String::new()).is_none());
        assert!(run_of(&vec![true]).is_none());
        assert!(run_of("twenty-four bytes of text").is_none());
        assert!(run_of(&[1_u8, 2][..]).is_none());
        assert!(run_of(&1_u64).is_none());
    }

    #[test]
    fn numbers_of_kinds_there_and_back() {
        for (number, kind) in NumberKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as u8, number as u8);
            assert_eq!(NumberKind::from_number(number as u8), Some(kind));
        }
        assert_eq!(NumberKind::from_number(KINDS), None);
    }
}
