//! What a worker reads and writes by its standard streams, as a builder has it.

use std::fs::File;
use std::io;
use std::iter::FusedIterator;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;

use super::host::lines as host;
use super::line::Line;

/// What a caller has asked of a builder for all three.
#[derive(Clone, Debug, Default)]
pub(crate) struct AskedStreams {
    pub(crate) stdin: Input,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

/// Where workers read from: for [`Builder::stdin`](super::Builder::stdin).
#[derive(Clone, Debug, Default)]
pub struct Input(pub(crate) StdinFrom);

#[derive(Clone, Debug, Default)]
pub(crate) enum StdinFrom {
    #[default]
    Null,
    Inherit,
    File(Arc<File>),
}

impl Input {
    /// Nothing: the first read finds the end.
    pub fn null() -> Input {
        Input(StdinFrom::Null)
    }

    /// The program's own stdin, as it is when the worker starts. Workers and the program take from
    /// it what the others then do not get.
    ///
    /// With a [`Sandbox`](crate::Sandbox) nothing is started: a terminal would be a way out.
    pub fn inherit() -> Input {
        Input(StdinFrom::Inherit)
    }

    /// A file, which each worker reads from its beginning. It is opened here, so that one that is
    /// removed or replaced later is read all the same.
    ///
    /// # Errors
    /// It cannot be opened, or cannot be read by each from its beginning (a directory, a pipe).
    pub fn file(path: impl AsRef<Path>) -> io::Result<Input> {
        let file = host::open_input(path.as_ref())?;
        Ok(Input(StdinFrom::File(Arc::new(file))))
    }

    /// As [`file`](Self::file), of a file that is open: one without a name, say. Each worker reads
    /// it from its beginning, wherever `file` itself stands.
    ///
    /// # Errors
    /// It cannot be read by each from its beginning (a directory, a pipe); there are no more
    /// descriptors. One that may not be opened again for reading is an error of what starts the
    /// worker.
    pub fn from_file(file: &File) -> io::Result<Input> {
        let file = host::copy_input(file)?;
        Ok(Input(StdinFrom::File(Arc::new(file))))
    }
}

/// Where goes what workers write: for [`Builder::stdout`](super::Builder::stdout) and
/// [`Builder::stderr`](super::Builder::stderr).
///
/// Whatever it is, the last lines of stderr are kept for [`Crash::stderr`](crate::Crash::stderr).
#[derive(Clone, Debug, Default)]
pub struct Output(pub(crate) To);

#[derive(Clone, Debug, Default)]
pub(crate) enum To {
    #[default]
    Inherit,
    Null,
    File(Arc<File>),
    Lines(Arc<host::Sink>),
}

impl Output {
    /// To the program's own.
    pub fn inherit() -> Output {
        Output(To::Inherit)
    }

    /// Nowhere.
    pub fn null() -> Output {
        Output(To::Null)
    }

    /// To the end of a file, which is made if it is not there. Any number of workers and programs
    /// may share it: each writes whole lines, or what it has of one after 100 ms or 8 KiB.
    ///
    /// Where it cannot be written to (a disk that is full), tasks are not held up and hear nothing:
    /// what they write is lost, and the program's stderr says so, and says how much it was once it
    /// can be written to again.
    ///
    /// # Errors
    /// It cannot be opened; a named pipe that no process reads is `ENXIO`.
    pub fn file(path: impl AsRef<Path>) -> io::Result<Output> {
        let file = host::open_output(path.as_ref())?;
        Ok(Output(To::File(Arc::new(file))))
    }

    /// As [`file`](Self::file), of a file that is open: a temporary one without a name, a named
    /// pipe. What workers write comes to its end. It is opened again, so that `file` keeps its
    /// place, and may be closed.
    ///
    /// # Errors
    /// It is not open for writing; it may not be opened again; it is a socket (`ENXIO`).
    ///
    /// # Examples
    /// ```
    /// use std::fs::File;
    /// use brigade::process::{Builder, Output};
    /// use brigade::{Kind, Pool};
    ///
    /// brigade::init();
    /// let path = std::env::temp_dir().join(format!("doc-output-{}", std::process::id()));
    /// let file = File::create(&path)?;
    /// let builder = Builder::new().stdout(Output::from_file(&file)?);
    /// let pool = Pool::builder(Kind::Process).workers(1).process(builder).build()?;
    /// pool.submit(|()| println!("hello"), ()).join()?;
    /// drop(pool); // now all of it is there
    /// assert_eq!(std::fs::read_to_string(&path)?, "hello\n");
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_file(file: &File) -> io::Result<Output> {
        let file = host::reopen_output(file)?;
        Ok(Output(To::File(Arc::new(file))))
    }

    /// To the program, line by line, with the worker and the task that wrote it: [`Lines`] is what
    /// it reads them from. One output may be given to stdout and stderr, and to any number of
    /// builders.
    ///
    /// # Errors
    /// A socket cannot be made; there are no processes on this system.
    ///
    /// # Examples
    /// ```
    /// use brigade::process::{Builder, Output};
    ///
    /// brigade::init();
    /// let (output, lines) = Output::lines()?;
    /// let worker = Builder::new().stdout(output).spawn(
    ///     |name: String| {
    ///         println!("hello,");
    ///         println!("{name}");
    ///     },
    ///     "world".to_owned(),
    /// )?;
    /// // The builder is gone, and with the worker's end so is the last who could write.
    /// let text: Vec<String> = lines.map(|line| line.text().to_owned()).collect();
    /// assert_eq!(text, ["hello,", "world"]);
    /// worker.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Of a pool, on a thread of the program's, with worker and task before each line:
    /// ```
    /// use brigade::process::{Builder, Output};
    /// use brigade::{Kind, Pool};
    ///
    /// fn double(n: u32) -> u32 {
    ///     eprintln!("doubling {n}");
    ///     2 * n
    /// }
    ///
    /// brigade::init();
    /// let (output, lines) = Output::lines()?;
    /// let log = std::thread::spawn(move || lines.map(|line| line.to_string()).collect::<Vec<_>>());
    /// let builder = Builder::new().stdout(output.clone()).stderr(output);
    /// let pool = Pool::builder(Kind::Process).workers(2).process(builder).build()?;
    /// assert_eq!(pool.map(double, 0..10).flatten().sum::<u32>(), 90);
    /// drop(pool);
    /// let log = log.join().expect("it does not panic");
    /// assert_eq!(log.len(), 10); // "[4711 my_program::double] doubling 3"
    /// assert!(log[0].contains("doubling"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "piped")]
    #[doc(alias = "capture")]
    pub fn lines() -> io::Result<(Output, Lines)> {
        let (sink, source) = host::lines()?;
        Ok((Output(To::Lines(Arc::new(sink))), Lines(source)))
    }
}

/// The lines that workers write: made by [`Output::lines`], read by iterating, which waits for the
/// next.
///
/// It ends when no writer is left: each worker has ended, and each builder, pool
/// and [`Output`] is dropped that has the other end. What a worker has written is read before that,
/// also where it was killed; but a task's result may be there earlier than its lines.
///
/// **A slow reader.** So many lines as the kernel keeps for a socket are ahead of the reader (some
/// 200 KiB), then the workers that write wait, as they do on a pipe. Where no line at all is taken
/// for five seconds, they wait no longer: lines are dropped and counted until some are taken again,
/// and [`Line::lost`] of the next one of that worker tells how many.
/// Dropped, no reader is left: what workers write goes nowhere, and they are not held up.
#[derive(Debug)]
pub struct Lines(host::Source);

impl Lines {
    /// The next line, for which this waits no longer than `timeout`. `None`: no writer is left, as
    /// with [`next`](Iterator::next).
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut): none has come in that time. No line is lost by it.
    ///
    /// # Examples
    /// ```
    /// use std::io::ErrorKind::TimedOut;
    /// use std::time::Duration;
    /// use brigade::process::{Builder, Output};
    ///
    /// brigade::init();
    /// let (output, mut lines) = Output::lines()?;
    /// let builder = Builder::new().stdout(output);
    /// let none = lines.next_timeout(Duration::from_millis(10)).expect_err("no worker runs yet");
    /// assert_eq!(none.kind(), TimedOut);
    /// builder.spawn(|()| println!("hello"), ())?.join()?;
    /// let line = lines.next_timeout(Duration::from_secs(10))?.expect("a line");
    /// assert_eq!(line.text(), "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_timeout(&mut self, timeout: Duration) -> io::Result<Option<Line>> {
        self.0.next_until(Instant::now().checked_add(timeout))
    }

    /// These lines, to be awaited.
    ///
    /// # Examples
    /// ```
    /// use brigade::process::{Builder, LineStream, Output};
    /// use futures_core::Stream;
    ///
    /// brigade::init();
    /// let (output, lines) = Output::lines()?;
    /// let worker = Builder::new().stdout(output).spawn(|()| println!("hello"), ())?;
    /// let mut lines: LineStream = lines.into_stream();
    /// // while let Some(line) = lines.next().await { … }
    /// # let mut next = || pollster::block_on(std::future::poll_fn(|context| {
    /// #     std::pin::Pin::new(&mut lines).poll_next(context)
    /// # }));
    /// # assert_eq!(next().expect("a line").text(), "hello");
    /// # assert!(next().is_none());
    /// worker.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_stream(self) -> LineStream {
        LineStream(self)
    }
}

/// The lines that workers write, to be awaited: made by [`Lines::into_stream`].
///
/// It ends as [`Lines`] do. Dropping a future of its next line loses none.
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct LineStream(Lines);

impl Stream for LineStream {
    type Item = Line;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Line>> {
        self.0.0.poll_next(context)
    }
}

impl Iterator for Lines {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        self.0.next()
    }
}

impl FusedIterator for Lines {}
