//! Values of every size, there and back.

use crate::each_way;

#[test]
fn every_size_around_the_limits() {
    const INLINE: usize = 32 * 1024;
    each_way(|starter| {
        for len in [
            0,
            1,
            7,
            8,
            9,
            4095,
            4096,
            INLINE - 3,
            INLINE - 2,
            INLINE - 1,
            INLINE,
            INLINE + 1,
            65_536,
            1 << 20,
            5 << 20,
        ] {
            let text: String = "0123456789".chars().cycle().take(len).collect();
            let handle = starter.start(|text: String| (text.len(), text), text.clone());
            let (seen, back) = handle.join().expect("returns");
            assert!(seen == len && back == text, "{len} bytes came back changed");
        }
    });
}

#[test]
fn small_in_large_out_and_the_other_way_round() {
    each_way(|starter| {
        let out = starter.start(|len: usize| "x".repeat(len), 3 << 20);
        assert_eq!(out.join().expect("returns").len(), 3 << 20);
        let back = starter.start(|text: String| text.len(), "x".repeat(3 << 20));
        assert_eq!(back.join().expect("returns"), 3 << 20);
    });
}

#[test]
fn nothing_at_all() {
    each_way(|starter| {
        starter.start(|()| (), ()).join().expect("returns");
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
    each_way(|starter| {
        let shape = Shape::Many(
            vec![Shape::Point, Shape::Circle { radius: 0.5 }],
            Some(Box::new(Shape::Point)),
        );
        assert_eq!(
            starter
                .start(|s: Shape| s, shape.clone())
                .join()
                .expect("returns"),
            shape
        );
    });
}
