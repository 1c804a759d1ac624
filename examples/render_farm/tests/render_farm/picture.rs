//! Sizes, and pictures as encoders take them.

use glam::Vec3;
use render_farm::picture::{Size, write_planes};

#[test]
fn a_size_is_two_even_sides() {
    let size: Size = "640x360".parse().expect("a size");
    assert_eq!((size.width, size.height, size.bytes()), (640, 360, 345_600));
    assert_eq!(size.to_string(), "640x360");
    for text in [
        "",
        "640",
        "640x",
        "x360",
        "641x360",
        "640x361",
        "14x16",
        "16x9000",
        "-16x16",
        "16 x16",
        "99999999999999999999x16",
    ] {
        text.parse::<Size>().expect_err(text);
    }
}

#[test]
fn colours_are_those_of_the_standard() {
    let size = Size {
        width: 16,
        height: 16,
    };
    let mut planes = vec![0; size.bytes()];
    for (colour, expected) in [
        (Vec3::ZERO, [16, 128, 128]),
        (Vec3::ONE, [235, 128, 128]),
        (Vec3::X, [63, 102, 240]),
        (Vec3::Y, [173, 42, 26]),
        (Vec3::Z, [32, 240, 118]),
    ] {
        write_planes(&[colour; 256], size, &mut planes);
        assert_eq!([planes[0], planes[256], planes[256 + 64]], expected);
        assert!(planes[..256].iter().all(|&byte| byte == expected[0]));
    }
}
