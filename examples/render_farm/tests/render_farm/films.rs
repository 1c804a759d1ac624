//! Films are the same whatever makes them, and other programs show what was drawn.

use std::fs;
use std::process::Command;

use render_farm::picture::Size;
use render_farm::render::{Frame, render};

use crate::ivf::{Film, decoded, is_installed, psnr};
use crate::{Scratch, farm, made, names, undisturbed};

const FRAMES: usize = 22;
const CHUNK: usize = 6;

fn size() -> Size {
    "64x36".parse().expect("a size")
}

/// The frames of the small film, drawn here.
fn drawn() -> Vec<brigade::Shared<[u8]>> {
    let frame = |number| Frame {
        number,
        rate: 6,
        size: size(),
        is_poisoned: false,
    };
    let drawn = (0..FRAMES as u32).map(|number| render(frame(number)).expect("memory"));
    drawn.collect()
}

#[test]
fn either_kind_and_any_number_of_workers_give_the_same_bytes() {
    for options in [
        ["--workers", "process", "--jobs", "1"],
        ["--workers", "process", "--jobs", "8"],
        ["--workers", "thread", "--jobs", "1"],
        ["--workers", "thread", "--jobs", "8"],
    ] {
        let scratch = Scratch::new();
        assert!(made(&scratch, &options) == undisturbed(), "{options:?}");
        // Nothing else is left.
        assert_eq!(names(&scratch.0), ["film.ivf"]);
    }
}

#[test]
fn a_film_that_is_there_is_replaced() {
    let scratch = Scratch::new();
    fs::write(scratch.film(), "an old film").expect("written");
    assert!(made(&scratch, &[]) == undisturbed());
}

#[test]
fn a_film_has_a_packet_for_each_frame_in_its_order() {
    let film = Film::read(undisturbed());
    let numbers: Vec<u64> = film.packets.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..FRAMES as u64).collect::<Vec<_>>());
    let count = u32::from_le_bytes(film.header[24..28].try_into().expect("four bytes"));
    assert_eq!(count as usize, FRAMES);
}

/// The sequence header that a packet begins with, behind an empty temporal delimiter: AV1, section
/// 5.3.
fn sequence_header(packet: &[u8]) -> Option<&[u8]> {
    let rest = packet.strip_prefix(&[2 << 3 | 2, 0, 1 << 3 | 2])?;
    let (len, rest) = rest.split_first()?;
    rest.get(..usize::from(*len))
}

#[test]
fn each_chunk_begins_with_the_same_sequence_header() {
    let film = Film::read(undisturbed());
    let header = sequence_header(&film.packets[0].1).expect("the film begins with one");
    for (number, packet) in &film.packets {
        let expected = (*number as usize).is_multiple_of(CHUNK).then_some(header);
        assert_eq!(sequence_header(packet), expected, "frame {number}");
    }
}

#[test]
fn other_programs_show_each_frame_as_it_was_drawn_and_in_its_order() {
    if !is_installed("ffmpeg") {
        return;
    }
    let scratch = Scratch::new();
    let shown = decoded(undisturbed(), &scratch.0, size().bytes());
    let drawn = drawn();
    assert_eq!(shown.len(), FRAMES);
    for (number, shown) in shown.iter().enumerate() {
        let own = psnr(shown, &drawn[number]);
        assert!(own > 34.0, "frame {number}: {own:.1} dB");
        for other in (0..FRAMES).filter(|other| *other != number) {
            let alike = psnr(shown, &drawn[other]);
            assert!(alike < own, "frame {number} looks like frame {other}");
        }
    }
}

#[test]
fn each_chunk_is_decoded_without_the_others() {
    if !is_installed("ffmpeg") {
        return;
    }
    let scratch = Scratch::new();
    let whole = decoded(undisturbed(), &scratch.0, size().bytes());
    let film = Film::read(undisturbed());
    for first in (0..FRAMES).step_by(CHUNK) {
        let frames = first..FRAMES.min(first + CHUNK);
        let alone = decoded(&film.of(frames.clone()), &scratch.0, size().bytes());
        assert!(alone == whole[frames], "the chunk of frame {first}");
    }
}

#[test]
fn players_are_told_what_it_is() {
    if !is_installed("ffprobe") {
        return;
    }
    let scratch = Scratch::new();
    fs::write(scratch.film(), undisturbed()).expect("written");
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_frames",
            "-of",
            "default=nw=1",
            "-show_entries",
        ])
        .arg(
            "stream=codec_name,width,height,pix_fmt,color_range,color_space,r_frame_rate,duration,\
             nb_read_frames",
        )
        .arg(scratch.film())
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&output.stdout);
    for expected in [
        "codec_name=av1",
        "width=64",
        "height=36",
        "pix_fmt=yuv420p",
        "color_range=tv",
        "color_space=bt709",
        "r_frame_rate=6/1",
        "duration=3.666667",
        "nb_read_frames=22",
    ] {
        assert!(
            told.lines().any(|line| line == expected),
            "{expected}: {told}"
        );
    }
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_still_is_the_frame() {
    let scratch = Scratch::new();
    let output = farm(&scratch, &["--still", "7"]).output();
    assert!(output.expect("it starts").status.success());
    let file = fs::File::open(scratch.film()).expect("there is a picture");
    let mut reader = png::Decoder::new(std::io::BufReader::new(file))
        .read_info()
        .expect("PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
    let info = reader.next_frame(&mut pixels).expect("PNG");
    assert_eq!((info.width, info.height), (64, 36));
    let scene = render_farm::scene::draw(64, 36, 7.0 / 6.0);
    let expected = scene.iter().flat_map(|pixel| pixel.to_array());
    assert!(
        expected
            .map(|colour| (255.0 * colour + 0.5) as u8)
            .eq(pixels)
    );
}
