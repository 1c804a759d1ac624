//! ipc-channel: typed channels over Unix sockets.

use std::io;

use brigade::{Message, process};
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcOneShotServer, IpcReceiver, IpcSender};

use crate::traffic::{arrivals, in_all, join, round_trips};

pub(crate) const NAME: &str = "ipc-channel 0.23.1";
pub(crate) const BYTES: &str = "ipc-channel 0.23.1, bytes";
pub(crate) const SERDE: &str = "ipc-channel 0.23.1, serde";

fn failed(e: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(e)
}

type Ends<T> = (IpcSender<T>, IpcReceiver<T>);

fn answer<T: Message>(name: String) -> Result<(), String> {
    let answer = || -> io::Result<()> {
        let (to, theirs) = ipc::channel::<T>()?;
        let (our_sender, from) = ipc::channel::<T>()?;
        IpcSender::<Ends<T>>::connect(name)?
            .send((our_sender, theirs))
            .map_err(failed)?;
        while let Ok(message) = from.recv() {
            if to.send(message).is_err() {
                break;
            }
        }
        Ok(())
    };
    answer().map_err(|e| e.to_string())
}

/// Microseconds for one there and back.
pub(crate) fn there_and_back<T: Message + Clone>(message: &T, count: u32) -> io::Result<f64> {
    let (server, name) = IpcOneShotServer::<Ends<T>>::new()?;
    let worker = process::spawn(answer::<T>, name)?;
    let (_, (to, from)) = server.accept().map_err(failed)?;
    let figure = round_trips(count, || {
        to.send(message.clone()).map_err(failed)?;
        from.recv().map(drop).map_err(failed)
    })?;
    drop(to);
    join(worker)?.map_err(io::Error::other)?;
    Ok(figure)
}

fn flood<T: Message + Clone>((name, message, count): (String, T, u32)) -> Result<(), String> {
    let flood = || -> io::Result<()> {
        let (to, theirs) = ipc::channel::<T>()?;
        IpcSender::<IpcReceiver<T>>::connect(name)?
            .send(theirs)
            .map_err(failed)?;
        for _ in 0..count {
            to.send(message.clone()).map_err(failed)?;
        }
        Ok(())
    };
    flood().map_err(|e| e.to_string())
}

/// Millions of messages a second.
pub(crate) fn one_way<T: Message + Clone>(message: &T, count: u32) -> io::Result<f64> {
    let (server, name) = IpcOneShotServer::<IpcReceiver<T>>::new()?;
    let worker = process::spawn(flood::<T>, (name, message.clone(), in_all(count)))?;
    let (_, from) = server.accept().map_err(failed)?;
    let figure = arrivals(count, || from.recv().map(drop).map_err(failed))?;
    join(worker)?.map_err(io::Error::other)?;
    Ok(figure)
}

fn flood_bytes((name, len, count): (String, usize, u32)) -> Result<(), String> {
    let flood = || -> io::Result<()> {
        let (to, theirs) = ipc::bytes_channel()?;
        IpcSender::<IpcBytesReceiver>::connect(name)?
            .send(theirs)
            .map_err(failed)?;
        let source = vec![7_u8; len];
        for _ in 0..count {
            to.send(&source)?;
        }
        Ok(())
    };
    flood().map_err(|e| e.to_string())
}

/// Millions of messages of `len` bytes a second, over its channel for bytes alone.
pub(crate) fn bytes_one_way(len: usize, count: u32) -> io::Result<f64> {
    let (server, name) = IpcOneShotServer::<IpcBytesReceiver>::new()?;
    let worker = process::spawn(flood_bytes, (name, len, in_all(count)))?;
    let (_, from) = server.accept().map_err(failed)?;
    let figure = arrivals(count, || from.recv().map(drop).map_err(failed))?;
    join(worker)?.map_err(io::Error::other)?;
    Ok(figure)
}
