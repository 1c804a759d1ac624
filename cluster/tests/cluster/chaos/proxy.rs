//! A proxy between programs and one server, which cuts connections when it is told to.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, Weak};

pub(super) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The port of the server; 0: it is not known yet.
    to: AtomicU16,
    open: Mutex<Vec<Weak<TcpStream>>>,
}

impl Proxy {
    pub(super) fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its own").port();
        let shared = Arc::new(Shared::default());
        let accepts = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is down: the client is told so by the end of its connection.
                let _ = accepts.join(client);
            }
        });
        Proxy { port, shared }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn leads_to(&self, port: u16) {
        self.shared.to.store(port, Ordering::Relaxed);
    }

    /// Ends all connections at once.
    pub(super) fn cut(&self) {
        let open = std::mem::take(&mut *self.shared.open.lock().unwrap());
        for stream in open.iter().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Shared {
    fn join(&self, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(("127.0.0.1", self.to.load(Ordering::Relaxed)))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client, server) = (Arc::new(client), Arc::new(server));
        let mut open = self.open.lock().unwrap();
        open.retain(|stream| stream.strong_count() > 0);
        open.extend([Arc::downgrade(&client), Arc::downgrade(&server)]);
        drop(open);
        let (back_from, back_to) = (Arc::clone(&server), Arc::clone(&client));
        for (from, to) in [(client, server), (back_from, back_to)] {
            std::thread::spawn(move || {
                let _ = io::copy(&mut &*from, &mut &*to);
                for stream in [from, to] {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            });
        }
        Ok(())
    }
}
