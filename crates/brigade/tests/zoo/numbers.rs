//! Numbers, to the last bit.

use std::cmp::Reverse;
use std::num::{NonZero, Saturating, Wrapping};
use std::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI64, AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed,
};

use serde::{Deserialize, Serialize};

use crate::enums::{Bits, NAN};
use crate::family;

/// A small number that is equal to itself, bit by bit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Bits32(f32);

impl PartialEq for Bits32 {
    fn eq(&self, other: &Bits32) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// Numbers that are equal to themselves, as a type that the codec copies.
macro_rules! by_bits {
    ($($name:ident $type:ty),*) => {
        $(#[derive(Debug, Serialize, Deserialize)]
        pub(crate) struct $name { before: u8, numbers: $type, after: u8 }

        impl $name {
            pub(crate) fn new(numbers: $type) -> $name {
                $name { before: 1, numbers, after: 2 }
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool {
                let bits = |it: &$name| it.numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
                bits(self) == bits(other) && (self.before, self.after) == (other.before, other.after)
            }
        })*
    };
}
by_bits!(Reals Vec<f64>, SmallReals Vec<f32>, RealArray [f64; 8], SmallRealArray [f32; 3], SharedReals std::sync::Arc<[f64]>);

/// What std lets change, which is equal to nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Atomics(
    AtomicBool,
    AtomicI8,
    AtomicU16,
    AtomicI64,
    AtomicU64,
    AtomicUsize,
);

impl PartialEq for Atomics {
    fn eq(&self, other: &Atomics) -> bool {
        let all = |it: &Atomics| {
            let small = (it.0.load(Relaxed), it.1.load(Relaxed), it.2.load(Relaxed));
            (
                small,
                it.3.load(Relaxed),
                it.4.load(Relaxed),
                it.5.load(Relaxed),
            )
        };
        all(self) == all(other)
    }
}

const REALS: [f64; 8] = [
    0.0,
    -0.0,
    1.5,
    f64::MIN_POSITIVE / 4.0,
    f64::MAX,
    f64::INFINITY,
    f64::NEG_INFINITY,
    NAN.0,
];

macro_rules! all_of {
    ($($number:ty)*) => { [($((<$number>::MIN, <$number>::MAX, 127 as $number, vec![<$number>::MAX; 9])),*)] };
}

macro_rules! around {
    ($number:ty) => {
        (0..<$number>::BITS).flat_map(|bit| {
            let n = (1 as $number) << bit;
            [n, n.wrapping_sub(1), n.wrapping_neg(), !n]
        })
    };
}

type Four<T> = (T, T, T, Vec<T>);

family! {
    Bool(bool) "bool" [true, false] => Equal;
    Unsigned((Four<u8>, Four<u16>, Four<u32>, Four<u64>, Four<usize>)) "unsigned integers" all_of!(u8 u16 u32 u64 usize) => Equal;
    Signed((Four<i8>, Four<i16>, Four<i32>, Four<i64>, Four<isize>)) "signed integers" all_of!(i8 i16 i32 i64 isize) => Equal;
    Wide((Four<u128>, Four<i128>)) "integers of 128 bits" all_of!(u128 i128) => Equal;
    EachU64(Vec<(u64, u8)>) "u64 around each power of two" [around!(u64).map(|n| (n, 0xff)).collect()] => Equal;
    EachI64(Vec<(i64, u8)>) "i64 around each power of two" [around!(i64).map(|n| (n, 0xff)).collect()] => Equal;
    EachU128(Vec<(u128, u8)>) "u128 around each power of two" [around!(u128).map(|n| (n, 0xff)).collect()] => Equal;
    EachI128(Vec<(i128, u8)>) "i128 around each power of two" [around!(i128).map(|n| (n, 0xff)).collect()] => Equal;
    Reals(Bits) "f64, NaN's bits too" REALS.map(Bits) => Equal;
    SmallReals(Bits32) "f32, NaN's bits too" [0.1, -0.0, f32::MIN_POSITIVE / 4.0, f32::NEG_INFINITY, f32::from_bits(0x7fa0_1234), f32::from_bits(0xffc0_0001)].map(Bits32) => Equal;
    RealList(Reals) "Vec<f64>" [Reals::new(REALS.to_vec()), Reals::new(vec![]), Reals::new(vec![0.5])] => Equal;
    SmallRealList(SmallReals) "Vec<f32>" [SmallReals::new(vec![f32::from_bits(0x7fa0_1234); 5])] => Equal;
    RealArray(RealArray) "[f64; 8]" [RealArray::new(REALS)] => Equal;
    SmallRealArray(SmallRealArray) "[f32; 3]" [SmallRealArray::new([0.1, -0.0, f32::from_bits(0x7fa0_1234)])] => Equal;
    SharedReals(SharedReals) "Arc<[f64]>" [SharedReals::new(REALS.into())] => Equal;
    Char(char) "char" ['a', '\0', 'ß', '€', '\u{10ffff}'] => Equal;
    NonZeros((NonZero<u8>, NonZero<i64>, NonZero<u128>)) "NonZero" [(NonZero::<u8>::MAX, NonZero::<i64>::MIN, NonZero::<u128>::MIN)] => Equal;
    Wrappers((Wrapping<u8>, Saturating<i32>, Reverse<u64>, Vec<Wrapping<u32>>)) "Wrapping, Saturating, Reverse" [(Wrapping(255), Saturating(-1), Reverse(1 << 40), vec![Wrapping(1 << 30); 6])] => Equal;
    Atomics(Atomics) "atomics" [Atomics(true.into(), (-1).into(), 500.into(), i64::MIN.into(), u64::MAX.into(), 1.into())] => Equal;
    Mixed((u8, i8, u64, f64, u8, i64, u128, f32, bool)) "a tuple of different numbers" [(1, -1, u64::MAX, 0.5, 2, i64::MIN, 1 << 90, 0.25, true)] => Equal;
    Alike((u32, u32, u32, u32, u32)) "a tuple of like numbers" [(1, 2, u32::MAX, 3, 1 << 20)] => Equal;
    Bytes(Vec<u8>) "Vec<u8>" [vec![], vec![1], vec![1, 2, 3, 4], (0..=255).collect(), vec![9; 70_000]] => Equal;
    Words((Vec<u16>, Vec<i32>, Vec<u64>, Vec<i128>, Vec<usize>)) "lists of numbers" [
        (vec![1; 5], vec![-1; 300], vec![u64::MAX, 0, 1, 2, 3], vec![i128::MIN; 4], vec![usize::MAX; 4]),
        Default::default(),
    ] => Equal;
    Lists(Vec<Vec<u8>>) "lists of lists of numbers" [vec![vec![], vec![1; 3], vec![2; 200], vec![]]] => Equal;
}
