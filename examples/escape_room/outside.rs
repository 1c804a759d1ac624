//! What escapes are tried on: a program with sockets, files and memory, and a second worker.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use brigade::channel::{self, Receiver, Sender};
use brigade::{JoinHandle, process};

use crate::escapes::Outside;

static SECRET: AtomicU64 = AtomicU64::new(42);

/// Kept while escapes are tried.
pub(crate) struct Around {
    pub(crate) outside: Outside,
    directory: PathBuf,
    _tcp: TcpListener,
    _udp: UdpSocket,
    _streams: (UnixListener, UnixListener),
    _datagrams: UnixDatagram,
    end: Sender<()>,
    sibling: Option<JoinHandle<()>>,
}

impl Around {
    pub(crate) fn new() -> io::Result<Around> {
        let own = std::process::id();
        let directory = std::env::temp_dir().join(format!("brigade-escape-{own}"));
        std::fs::create_dir(&directory)?;
        let anybody =
            |path: &PathBuf, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode));
        anybody(&directory, 0o777)?;
        let file = directory.join("file");
        std::fs::write(&file, "secret")?;
        anybody(&file, 0o666)?;
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let path = directory.join("streams");
        let name = format!("brigade-escape-{own}");
        let streams = (
            UnixListener::bind(&path)?,
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?,
        );
        let datagrams_at = directory.join("datagrams");
        let datagrams = UnixDatagram::bind(&datagrams_at)?;
        anybody(&path, 0o777)?;
        anybody(&datagrams_at, 0o777)?;
        let (end, ended) = channel::pipe(1)?;
        let sibling = process::spawn(wait, ended)?;
        Ok(Around {
            outside: Outside {
                host: own,
                sibling: sibling.pid().unwrap_or(own),
                secret: (&raw const SECRET) as usize,
                directory: directory.display().to_string(),
                tcp: tcp.local_addr()?.port(),
                udp: udp.local_addr()?.port(),
                path: path.display().to_string(),
                name,
                datagrams: datagrams_at.display().to_string(),
            },
            directory,
            _tcp: tcp,
            _udp: udp,
            _streams: streams,
            _datagrams: datagrams,
            end,
            sibling: Some(sibling),
        })
    }
}

impl Drop for Around {
    fn drop(&mut self) {
        let _ = self.end.send(());
        if let Some(sibling) = self.sibling.take() {
            let _ = sibling.join();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn wait(end: Receiver<()>) {
    let _ = end.recv();
}
