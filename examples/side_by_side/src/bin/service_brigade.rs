//! A service whose work may crash, ends when its client goes, and is refused when it is too much.
use axum::extract::{Path, State};
use axum::{Router, http::StatusCode, routing::get};
use brigade::{Kind, Pool};
use side_by_side::work;

async fn answer(State(pool): State<Pool>, Path(millis): Path<u64>) -> Result<String, StatusCode> {
    let task = pool.task(work).cancel_on_drop();
    let handle = task
        .try_submit(millis)
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    handle.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

#[brigade::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .queue_limit(2)
        .build()?;
    let app = Router::new()
        .route("/work/{millis}", get(answer))
        .with_state(pool);
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        Ok(axum::serve(listener, app).await?)
    })
}
