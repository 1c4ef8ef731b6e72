//! `import`: what `export` printed, into a store.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures_util::stream::{Stream, StreamExt as _, unfold};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader, stdin};
use tokio::time::Instant;

use crate::Context;
use crate::args;
use crate::budget::{Budget, Room};
use crate::failure::{End, Failure};
use crate::line::Line;
use crate::source::Found;
use crate::transfer::{Item, Target};
use crate::turns::Turn;

/// How many bytes a line may have: as many as a value of Redis takes as base64, and some more.
const LIMIT: usize = 700 << 20;

type Reader = BufReader<Pin<Box<dyn AsyncRead>>>;

pub(crate) async fn run(context: &Context<'_>, args: args::Import) -> Result<End, Failure> {
    let opened = async {
        let file: Pin<Box<dyn AsyncRead>> = match args.file.to_str() {
            Some("-") => Box::pin(stdin()),
            _ => Box::pin(File::open(&args.file).await.map_err(unreadable)?),
        };
        Ok::<_, Failure>((
            BufReader::with_capacity(64 << 10, file),
            context.provider().await?,
        ))
    };
    let (reader, provider) = tokio::select! {
        opened = opened => opened?,
        () = context.signals.interrupted() => return Err(Failure::Interrupted),
    };
    let target = Target::new(context, &provider, args.how, args.jobs.jobs)?;
    let budget = Budget::new();
    let queued = |(number, line): (u64, Result<(Vec<u8>, Room), Failure>)| {
        let (line, room) = line?;
        if line.len() > LIMIT {
            target.count_read();
            let reason = format!("it has more than {LIMIT} bytes");
            let failure = Failure::Data(format!("line {number} is not imported"), reason);
            return target.failed(failure).map(|()| None);
        }
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        target.count_read();
        match Line::from_json(&line) {
            Ok(line) => {
                let turn = target.queue(&line.key);
                Ok(Some((line, room, turn)))
            }
            Err(reason) => {
                let failure = Failure::Data(format!("line {number} is not imported"), reason);
                target.failed(failure).map(|()| None)
            }
        }
    };
    let items = lines(reader, &budget, LIMIT).map(|line| {
        let queued = queued(line);
        async move {
            Ok(match queued? {
                Some((line, room, turn)) => Some(item(line, room, turn.comes().await)),
                None => None,
            })
        }
    });
    target.run(items, None).await
}

fn item(line: Line, room: Room, turn: Turn) -> Item {
    let left = |at: SystemTime| {
        at.duration_since(SystemTime::now())
            .unwrap_or(Duration::ZERO)
    };
    let found = Found {
        value: line.value,
        expires: line.expires_at.map(|at| Instant::now() + left(at)),
        at: Instant::now(),
        room,
    };
    Item::new(turn, line.key, line.kind, found)
}

/// The lines with their numbers, as there is room for them; the last is an error where reading fails. One over the
/// limit is cut off a byte behind it.
fn lines(
    reader: Reader,
    budget: &Budget,
    limit: usize,
) -> impl Stream<Item = (u64, Result<(Vec<u8>, Room), Failure>)> {
    unfold(Some((reader, 1)), move |state| async move {
        let (mut reader, number) = state?;
        let mut line = Vec::new();
        let mut begin = (&mut reader).take(limit as u64 + 1);
        let mut read = begin.read_until(b'\n', &mut line).await;
        if line.len() > limit && !line.ends_with(b"\n") {
            read = read.and(skip_line(&mut reader).await);
        }
        match read {
            Ok(0) if line.is_empty() => None,
            Ok(_) => {
                let room = budget.take(line.len()).await;
                Some(((number, Ok((line, room))), Some((reader, number + 1))))
            }
            Err(error) => Some(((number, Err(unreadable(error))), None)),
        }
    })
}

/// Reads to the end of a line, and keeps nothing of it.
async fn skip_line(reader: &mut Reader) -> std::io::Result<usize> {
    let mut skipped = 0;
    loop {
        let read = reader.fill_buf().await?;
        let end = read.iter().position(|&byte| byte == b'\n');
        let len = end.map_or(read.len(), |at| at + 1);
        reader.consume(len);
        skipped += len;
        if end.is_some() || len == 0 {
            return Ok(skipped);
        }
    }
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::io("the file to import cannot be read", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_over_the_limit_is_cut_off_and_the_next_is_whole() {
        let text = "1\n".to_owned() + &"x".repeat(200_000) + "\n12345678\n123456789\n\n12";
        let file: Pin<Box<dyn AsyncRead>> = Box::pin(std::io::Cursor::new(text.into_bytes()));
        let budget = Budget::new();
        let lines = lines(BufReader::with_capacity(16, file), &budget, 9);
        let mut lines = std::pin::pin!(lines);
        let mut read = Vec::new();
        while let Some((number, line)) = lines.next().await {
            read.push((number, String::from_utf8(line.unwrap().0).unwrap()));
        }
        let expected = ["1\n", "xxxxxxxxxx", "12345678\n", "123456789\n", "\n", "12"];
        let expected: Vec<_> = (1..).zip(expected.map(str::to_owned)).collect();
        assert_eq!(read, expected);
    }
}
