//! Values of every size, there and back.

use crate::both;

#[test]
fn every_size_around_the_limits() {
    both(|kind| {
        for len in [
            0,
            1,
            7,
            8,
            9,
            4095,
            4096,
            32 * 1024 - 3,
            32 * 1024 - 2,
            32 * 1024 - 1,
            32 * 1024,
            32 * 1024 + 1,
            65_536,
            1 << 20,
            5 << 20,
        ] {
            let value: Vec<u8> = (0..len).map(|i| ((i * 31) >> 3) as u8).collect();
            let handle = kind
                .spawn(
                    |mut v: Vec<u8>| {
                        v.reverse();
                        v
                    },
                    value.clone(),
                )
                .expect("starts");
            let mut got = handle.join().expect("returns");
            got.reverse();
            assert!(got == value, "{len} bytes came back changed");
        }
    });
}

#[test]
fn small_in_large_out_and_the_other_way_round() {
    both(|kind| {
        let out = kind
            .spawn(|len: usize| vec![5_u8; len], 3 << 20)
            .expect("starts");
        assert_eq!(out.join().expect("returns").len(), 3 << 20);
        let back = kind
            .spawn(|v: Vec<u8>| v.len(), vec![1; 3 << 20])
            .expect("starts");
        assert_eq!(back.join().expect("returns"), 3 << 20);
    });
}

#[test]
fn nothing_at_all() {
    both(|kind| {
        kind.spawn(|()| (), ())
            .expect("starts")
            .join()
            .expect("returns");
    });
}

#[test]
fn structured_values() {
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Shape {
        Point,
        Circle { radius: f64 },
        Many(Vec<Shape>, Option<Box<Shape>>),
    }
    both(|kind| {
        let shape = Shape::Many(
            vec![Shape::Point, Shape::Circle { radius: 0.5 }],
            Some(Box::new(Shape::Point)),
        );
        assert_eq!(
            kind.spawn(|s: Shape| s, shape.clone())
                .expect("starts")
                .join()
                .expect("returns"),
            shape
        );
    });
}
