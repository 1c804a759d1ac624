//! Sequences, tuples, arrays, sets.

use std::collections::{BTreeSet, BinaryHeap, HashSet, LinkedList, VecDeque};
use std::sync::Arc;

use arrayvec::{ArrayString, ArrayVec};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::family;
use crate::structs::{Empty, Six, Unit};

/// A heap, equal to one with the same elements.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Heap(BinaryHeap<u32>);

impl PartialEq for Heap {
    fn eq(&self, other: &Heap) -> bool {
        self.0.clone().into_sorted_vec() == other.0.clone().into_sorted_vec()
    }
}

type Twelve = (
    u8,
    String,
    i64,
    bool,
    (),
    char,
    f32,
    Option<u8>,
    Vec<u8>,
    u128,
    [u8; 2],
    Unit,
);
/// A tuple longer than those that std compares.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Sixteen(
    (
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        String,
    ),
);

impl std::fmt::Debug for Sixteen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, last) = &self.0;
        f.debug_list()
            .entries([a, b, c, d, e, g, h, i, j, k, l, m, n, o, p])
            .entry(last)
            .finish()
    }
}

impl PartialEq for Sixteen {
    fn eq(&self, other: &Sixteen) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

family! {
    Texts(Vec<String>) "Vec<String>" [vec![], vec!["".into(), "a".into(), "b".repeat(40)]] => Equal;
    Bools(Vec<bool>) "Vec<bool>" [vec![true, false, true, true, false]] => Equal;
    Units(Vec<()>) "Vec<()>" [vec![], vec![(); 5], vec![(); 100_000]] => Equal;
    Empties(Vec<Empty>) "Vec of structs without fields" [vec![Empty {}, Empty {}], (0..1000).map(|_| Empty {}).collect()] => Equal;
    EmptyArrays((Vec<[u8; 0]>, [String; 0], [[u64; 0]; 3])) "arrays of nothing" [(vec![[]; 4], [], [[]; 3])] => Equal;
    Structs(Vec<Six>) "Vec of structs" [(0..50).map(|id| Six { id, ..Six::default() }).collect::<Vec<_>>()] => Equal;
    Nested(Vec<Vec<Vec<Option<i8>>>>) "Vec of Vec of Vec" [vec![vec![], vec![vec![], vec![None, Some(-1)]]]] => Equal;
    Collections((VecDeque<u8>, LinkedList<i64>, BTreeSet<String>, HashSet<u32>)) "VecDeque, LinkedList, BTreeSet, HashSet" [
        ((0..9).collect(), (-4..4).collect(), ["x".to_owned(), "".into()].into(), (0..100).collect()),
        Default::default(),
    ] => Equal;
    Heap(Heap) "BinaryHeap" [Heap([5, 1, 9, 1 << 30].into())] => Equal;
    Slices((Box<[u16]>, Arc<[String]>, Box<[Six]>)) "boxed and shared slices" [(vec![1; 7].into(), ["a".to_owned()].into(), vec![Six::default()].into())] => Equal;
    Shared((Arc<u8>, Arc<Vec<u8>>, Box<Arc<Box<u64>>>)) "Arc and Box" [(Arc::new(1), Arc::new(vec![1; 9]), Box::new(Arc::new(Box::new(1 << 60))))] => Equal;
    Arrays(([u8; 1], [u64; 31], [u64; 32], [i8; 32], [bool; 5], [char; 3])) "arrays" [([1], [u64::MAX; 31], [7; 32], [-1; 32], [true; 5], ['x'; 3])] => Equal;
    ArraysOfOthers(([String; 3], [Six; 2], [[u32; 4]; 4], [Option<u8>; 4])) "arrays of others" [Default::default(), ([const { String::new() }; 3], Default::default(), [[1, 2, 3, 1 << 31]; 4], [None, Some(1), None, Some(2)])] => Equal;
    Tuples(((u8,), (u8, String), ((), ()), Twelve)) "tuples of 1, 2 and 12" [(
        (1,), (2, "two".into()), ((), ()),
        (1, "2".into(), -3, true, (), '6', 7.5, None, vec![9; 9], 1 << 100, [1, 2], Unit),
    )] => Equal;
    Sixteen(Sixteen) "a tuple of 16" [Sixteen((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, "16".into()))] => Equal;
    SmallVec(SmallVec<[u32; 4]>) "smallvec" [SmallVec::from_slice(&[1, 2]), SmallVec::from_slice(&[1, 2, 3, 4, 5, 6])] => Equal;
    ArrayVec((ArrayVec<u8, 8>, ArrayString<16>)) "arrayvec" [([1, 2, 3].into_iter().collect(), ArrayString::from("text").expect("it fits"))] => Equal;
}
