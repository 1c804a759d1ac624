//! The task that encodes a chunk of frames, as AV1.

use std::sync::Arc;

use brigade::Shared;
use rav1e::config::SpeedSettings;
use rav1e::prelude::{
    ChromaSamplePosition, ChromaSampling, ColorDescription, ColorPrimaries, Config, Context,
    EncoderConfig, EncoderStatus, MatrixCoefficients, PixelRange, Rational, SceneDetectionSpeed,
    TransferCharacteristics,
};
use serde::{Deserialize, Serialize};

use crate::picture::Size;

/// How good a film is to be, and how hard the encoder tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// From 0, the best, to 255. It is the same for each frame: a rate to be kept would have to be
    /// agreed on by all chunks.
    pub quantizer: u8,
    /// From 0, the slowest, to 10.
    pub speed: u8,
}

/// Frames that follow one another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chunk {
    /// Each as [`render`](crate::render::render) gives it.
    pub frames: Vec<Shared<[u8]>>,
    /// Of each.
    pub size: Size,
    /// Frames in a second.
    pub rate: u32,
    /// How good it is to be.
    pub quality: Quality,
}

/// Encodes a chunk, and gives a packet for each frame. The first is a key frame, and begins with
/// the sequence header, which is the same for each chunk of a film: so packets of chunks that were
/// encoded apart are a film when they are put one after another.
///
/// # Errors
/// The encoder's, in its words; frames of another size.
pub fn encode(chunk: Chunk) -> Result<Vec<Vec<u8>>, String> {
    let config = config(chunk.size, chunk.rate, chunk.quality, chunk.frames.len());
    let mut encoder: Context<u8> = config.new_context().map_err(|e| e.to_string())?;
    let mut frames = chunk.frames.iter();
    let mut packets = Vec::with_capacity(frames.len());
    loop {
        match encoder.receive_packet() {
            Ok(packet) => packets.push(packet.data),
            Err(EncoderStatus::Encoded) => {}
            Err(EncoderStatus::LimitReached) => break,
            Err(EncoderStatus::NeedMoreData) => {
                let next = frames.next();
                let next = next.map(|planes| frame(&encoder, chunk.size, planes));
                let sent = match next.transpose()? {
                    Some(frame) => encoder.send_frame(Arc::new(frame)),
                    None => {
                        encoder.flush();
                        Ok(())
                    }
                };
                sent.map_err(|e| e.to_string())?;
            }
            Err(status) => return Err(format!("the encoder: {status}")),
        }
    }
    match packets.len() == chunk.frames.len() {
        true => Ok(packets),
        false => Err(format!(
            "the encoder gave {} packets for {} frames",
            packets.len(),
            chunk.frames.len()
        )),
    }
}

/// A frame as the encoder has it, with room around each plane. It copies what comes in any case.
fn frame(encoder: &Context<u8>, size: Size, bytes: &[u8]) -> Result<rav1e::Frame<u8>, String> {
    if bytes.len() != size.bytes() {
        return Err(format!("{} bytes are no frame of {size}", bytes.len()));
    }
    let mut frame = encoder.new_frame();
    let mut rest = bytes;
    for (plane, Size { width, height }) in frame.planes.iter_mut().zip(size.planes()) {
        let (of_plane, others) = rest.split_at(width * height);
        plane.copy_from_raw_u8(of_plane, width, 1);
        rest = others;
    }
    Ok(frame)
}

fn config(size: Size, rate: u32, quality: Quality, frames: usize) -> Config {
    // A key frame at the beginning, and none after it.
    let mut speed = SpeedSettings::from_preset(quality.speed);
    speed.scene_detection_mode = SceneDetectionSpeed::None;
    let frames = frames as u64 + 1;
    let encoder = EncoderConfig {
        width: size.width,
        height: size.height,
        time_base: Rational {
            num: 1,
            den: u64::from(rate),
        },
        chroma_sampling: ChromaSampling::Cs420,
        chroma_sample_position: ChromaSamplePosition::Unknown,
        pixel_range: PixelRange::Limited,
        color_description: Some(ColorDescription {
            color_primaries: ColorPrimaries::BT709,
            transfer_characteristics: TransferCharacteristics::BT709,
            matrix_coefficients: MatrixCoefficients::BT709,
        }),
        min_key_frame_interval: frames,
        max_key_frame_interval: frames,
        quantizer: usize::from(quality.quantizer),
        speed_settings: speed,
        ..EncoderConfig::default()
    };
    Config::new().with_encoder_config(encoder).with_threads(1)
}

/// The encoder's version, with a number for how it is used here: another may give other bytes.
pub fn identity() -> String {
    let settings = crc32fast::hash(include_str!("encode.rs").as_bytes());
    format!("rav1e {}, settings {settings:08x}", rav1e::version::short())
}
