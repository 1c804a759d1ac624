//! A request that waits for another server: it is awaited in the front, where waiting costs no
//! worker.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::body::Content;

/// What is relayed of a body.
const LARGEST: usize = 8 << 20;

/// Asks the other server, and relays what it says.
///
/// # Errors
/// The status that tells the client: it does not answer (502), or not in time (504).
pub(crate) async fn get(
    server: SocketAddr,
    path: &str,
    time: Duration,
) -> Result<Response<Content>, StatusCode> {
    match timeout(time, ask(server, path)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(why)) => {
            tracing::warn!("upstream {server}: {why}");
            Err(StatusCode::BAD_GATEWAY)
        }
        Err(_) => Err(StatusCode::GATEWAY_TIMEOUT),
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn ask(server: SocketAddr, path: &str) -> Result<Response<Content>, Error> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender, and what it fails with the sender tells.
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, server.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
    connection.abort();
    let mut response = Response::builder().status(head.status);
    for name in [header::CONTENT_TYPE, header::LAST_MODIFIED, header::ETAG] {
        if let Some(value) = head.headers.get(&name) {
            response = response.header(name, value);
        }
    }
    Ok(response.body(Content::Bytes(body))?)
}
