//! Reading container logs in the runtime's format: `<time> <stream> <P|F> <text>` (rule: `kuberuntime/logs`).

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    handlers::Query,
    reply::{Reply, error},
};
use crate::kubelet::Kubelet;

/// So much of a file is read at once, in bytes.
const CHUNK: usize = 64 * 1024;
/// A line longer than this is handed on in parts; the runtime itself splits at 16 KiB.
const MAX_LINE: usize = 1024 * 1024;
/// While following, the container's end is looked for this often.
const LOOK: Duration = Duration::from_secs(1);

/// What a reader wants (rule: `PodLogOptions`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on as long as the container does.
    pub follow: bool,
    /// The run before the present one.
    pub previous: bool,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Only lines from this time on.
    pub since: Option<Timestamp>,
    /// Only the last lines.
    pub tail: Option<usize>,
    /// At most so many bytes.
    pub limit: Option<usize>,
    /// Only standard output (false) or error output (true).
    pub stderr_only: Option<bool>,
}

impl Options {
    /// Reads the query of a request.
    pub(super) fn parse(query: &Query) -> Result<Self, String> {
        let number = |name: &str| -> Result<Option<u64>, String> {
            let Some(text) = query.get(name).filter(|t| !t.is_empty()) else { return Ok(None) };
            text.parse()
                .map(Some)
                .map_err(|_| format!("{name}: invalid value {text:?}: must be a non-negative integer"))
        };
        let mut since = number("sinceSeconds")?
            .map(|s| Timestamp::now() - jiff::SignedDuration::from_secs(i64::try_from(s).unwrap_or(i64::MAX / 4)));
        if let Some(text) = query.get("sinceTime").filter(|t| !t.is_empty()) {
            since = Some(text.parse().map_err(|e| format!("sinceTime: {e}"))?);
        }
        let limit = number("limitBytes")?;
        if limit == Some(0) {
            return Err("limitBytes: Invalid value: 0: must be greater than 0".into());
        }
        Ok(Options {
            follow: query.flag(&["follow"]),
            previous: query.flag(&["previous"]),
            timestamps: query.flag(&["timestamps"]),
            since,
            tail: number("tailLines")?.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            limit: limit.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            stderr_only: match query.get("stream") {
                Some("Stdout") => Some(false),
                Some("Stderr") => Some(true),
                _ => None,
            },
        })
    }
}

/// Answers with a log, which may go on.
pub(super) fn stream(k: Arc<Kubelet>, path: PathBuf, id: String, options: Options) -> Reply {
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) => {
            let why = format!("failed to try resolving symlinks in path {:?}: {e}", path.display());
            return error(StatusCode::INTERNAL_SERVER_ERROR, why);
        }
    };
    let (out, pieces) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut reader = Reader { file, path, filter: Filter::new(options.clone()), rest: Vec::new() };
        if let Err(error) = reader.run(&k, &id, &options, &out).await {
            tracing::debug!(container = id, %error, "cannot read a log any further");
        }
    });
    let body = StreamBody::new(futures::StreamExt::map(ReceiverStream::new(pieces), |b| Ok(Frame::data(b))));
    let mut reply = Response::new(body.boxed_unsync());
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    reply
}

struct Reader {
    file: File,
    path: PathBuf,
    filter: Filter,
    /// The start of a line of which the end has not been written yet.
    rest: Vec<u8>,
}

impl Reader {
    async fn run(
        &mut self,
        k: &Kubelet,
        id: &str,
        options: &Options,
        out: &mpsc::Sender<Bytes>,
    ) -> std::io::Result<()> {
        if let Some(lines) = options.tail {
            let start = tail_offset(&mut self.file, lines)?;
            self.file.seek(SeekFrom::Start(start))?;
        }
        let mut watch = options.follow.then(|| watch(&self.path)).flatten();
        loop {
            // Whether the container has ended is asked before the file is read, or its last words could be missed.
            let over = !options.follow || !is_running(k, id).await;
            if !self.drain(out).await? || over {
                return Ok(());
            }
            tokio::select! {
                () = news(&mut watch) => {}
                () = tokio::time::sleep(LOOK) => {}
                () = out.closed() => return Ok(()),
            }
            self.reopen_if_rotated(out).await?;
        }
    }

    /// Sends what the file has; false when the reader has enough.
    async fn drain(&mut self, out: &mpsc::Sender<Bytes>) -> std::io::Result<bool> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let size = self.file.read(&mut chunk)?;
            if size == 0 {
                return Ok(true);
            }
            self.rest.extend_from_slice(&chunk[..size]);
            let mut piece = Vec::new();
            let mut begin = 0;
            while let Some(at) = self.rest[begin..].iter().position(|b| *b == b'\n') {
                self.filter.line(&self.rest[begin..begin + at], &mut piece);
                begin += at + 1;
            }
            self.rest.drain(..begin);
            if self.rest.len() > MAX_LINE {
                let line = std::mem::take(&mut self.rest);
                self.filter.line(&line, &mut piece);
            }
            if !piece.is_empty() && out.send(piece.into()).await.is_err() {
                return Ok(false);
            }
            if self.filter.full() {
                return Ok(false);
            }
        }
    }

    async fn reopen_if_rotated(&mut self, out: &mpsc::Sender<Bytes>) -> std::io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let Ok(now) = std::fs::metadata(&self.path) else { return Ok(()) };
        if now.ino() != self.file.metadata()?.ino() {
            self.drain(out).await?;
            self.file = File::open(&self.path)?;
            self.rest.clear();
        }
        Ok(())
    }
}

async fn is_running(k: &Kubelet, id: &str) -> bool {
    let status = k.runtime.container_status(id, false).await.ok().and_then(|s| s.status);
    status.is_some_and(|s| s.state() == steersman_cri::v1::ContainerState::ContainerRunning)
}

/// Watches the folder, since rotation replaces the file.
fn watch(path: &Path) -> Option<(Inotify, AsyncFd<OwnedFd>)> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    inotify.add_watch(path.parent()?, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE).ok()?;
    let copy = std::os::fd::AsFd::as_fd(&inotify).try_clone_to_owned().ok()?;
    // SAFETY: the copied descriptor is owned by the AsyncFd and nobody else closes or replaces it.
    let ready = unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) }.ok()?;
    Some((inotify, ready))
}

async fn news(watch: &mut Option<(Inotify, AsyncFd<OwnedFd>)>) {
    let Some((inotify, ready)) = watch else { return std::future::pending().await };
    if let Ok(mut guard) = ready.readable().await {
        // What happened does not matter, only that it did.
        while inotify.read_events().is_ok_and(|e| !e.is_empty()) {}
        guard.clear_ready();
    }
}

/// Where the last `lines` lines of a file begin.
fn tail_offset(file: &mut File, lines: usize) -> std::io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let mut at = end;
    let mut count = 0;
    let mut chunk = vec![0; 4096];
    while at > 0 {
        let size = at.min(chunk.len() as u64) as usize;
        at -= size as u64;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut chunk[..size])?;
        for (i, byte) in chunk[..size].iter().enumerate().rev() {
            // The very last line end closes the last line, it does not begin another.
            if *byte == b'\n' && at + i as u64 + 1 != end {
                count += 1;
                if count == lines {
                    return Ok(at + i as u64 + 1);
                }
            }
        }
    }
    Ok(0)
}

/// Turns lines of the file into what the reader sees.
struct Filter {
    options: Options,
    left: usize,
    fresh: bool,
}

impl Filter {
    fn new(options: Options) -> Self {
        Filter { left: options.limit.unwrap_or(usize::MAX), options, fresh: true }
    }

    fn full(&self) -> bool {
        self.left == 0
    }

    fn line(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        let Some(line) = Line::parse(raw) else { return };
        if self.options.stderr_only.is_some_and(|wanted| wanted != line.stderr) {
            return;
        }
        if let Some(since) = self.options.since
            && line.time.parse::<Timestamp>().is_ok_and(|t| t < since)
        {
            return;
        }
        let begin = out.len();
        if self.options.timestamps && self.fresh {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if !line.partial {
            out.push(b'\n');
        }
        self.fresh = !line.partial;
        out.truncate(begin + (out.len() - begin).min(self.left));
        self.left -= out.len() - begin;
    }
}

/// The last `lines` lines of a log, without times, cut to `max` bytes from the end.
pub fn tail_text(path: &Path, lines: usize, max: usize) -> String {
    let Ok(mut file) = File::open(path) else { return String::new() };
    let size = file.metadata().map_or(0, |m| m.len());
    // Lines carry about forty bytes of time and tags each.
    let window = (max + lines * 64) as u64;
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(size.saturating_sub(window))).and_then(|_| file.read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let skip = if size > window { 1 } else { 0 };
    let mut out = String::new();
    for line in all.iter().skip(skip.max(all.len().saturating_sub(lines))) {
        if let Some(parsed) = Line::parse(line.as_bytes()) {
            out.push_str(&String::from_utf8_lossy(parsed.text));
            if !parsed.partial {
                out.push('\n');
            }
        }
    }
    let mut start = out.len().saturating_sub(max);
    while !out.is_char_boundary(start) {
        start += 1;
    }
    out.split_off(start)
}

/// One line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written, in RFC 3339 with nanoseconds.
    pub time: &'a str,
    /// Whether it came from the error output.
    pub stderr: bool,
    /// The text goes on in the next line.
    pub partial: bool,
    /// What was written.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line without its end; `None` if it is malformed.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |b| *b == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stderr = match parts.next()? {
            b"stdout" => false,
            b"stderr" => true,
            _ => return None,
        };
        // Tags are divided by colons; the first says whether the line is whole.
        let partial = match parts.next()?.split(|b| *b == b':').next()? {
            b"P" => true,
            b"F" => false,
            _ => return None,
        };
        Some(Line { time, stderr, partial, text: parts.next().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LOG: &str = "2026-01-02T03:04:05.000000001Z stdout F one\n\
2026-01-02T03:04:06Z stderr F two\n2026-01-02T03:04:07Z stdout P thr\n2026-01-02T03:04:07Z stdout F ee\nnonsense\n";

    fn read(options: Options) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(LOG.as_bytes()).unwrap();
        let start = options.tail.map_or(0, |lines| tail_offset(&mut file, lines).unwrap());
        let mut filter = Filter::new(options);
        let mut out = Vec::new();
        LOG[start as usize..].lines().for_each(|l| filter.line(l.as_bytes(), &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn options_choose_lines() {
        let check = |options: Options, expect: &str| assert_eq!(read(options.clone()), expect, "{options:?}");
        check(Options::default(), "one\ntwo\nthree\n");
        check(Options { tail: Some(3), ..Options::default() }, "three\n");
        check(Options { tail: Some(0), ..Options::default() }, "");
        check(Options { tail: Some(100), limit: Some(5), ..Options::default() }, "one\nt");
        check(Options { stderr_only: Some(true), ..Options::default() }, "two\n");
        check(Options { since: Some("2026-01-02T03:04:06Z".parse().unwrap()), ..Options::default() }, "two\nthree\n");
        let times = read(Options { timestamps: true, ..Options::default() });
        assert_eq!(times.lines().last(), Some("2026-01-02T03:04:07Z three"));
    }

    #[test]
    fn the_end_of_a_log_is_found() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(LOG.as_bytes()).unwrap();
        assert_eq!(tail_text(file.path(), 80, 2048), "one\ntwo\nthree\n");
        assert_eq!(tail_text(file.path(), 80, 6), "three\n");
        assert_eq!(tail_text(Path::new("/nowhere"), 1, 1), "");
    }
}
