//! Answers, from bytes. What they say of their own lengths is not believed.

use bytes::{Buf as _, Bytes};

use super::{Code, Garbled, op};

/// What the server answers to one request.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) number: i32,
    /// The transaction: of a write this write's own, of a read the last one that the server knows.
    pub(crate) zxid: i64,
    pub(crate) result: Result<Bytes, Code>,
}

impl Answer {
    /// Reads a frame.
    pub(crate) fn new(mut frame: Bytes) -> Result<Self, Garbled> {
        let number = frame.try_get_i32()?;
        let zxid = frame.try_get_i64()?;
        let result = match frame.try_get_i32()? {
            0 => Ok(frame),
            code => Err(Code(code)),
        };
        Ok(Self {
            number,
            zxid,
            result,
        })
    }
}

/// What the server knows of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    /// The transaction that wrote the node's data last.
    pub(crate) mzxid: i64,
    /// How often its data was written since it was created.
    pub(crate) version: i32,
}

impl Stat {
    const LEN: usize = 68;

    pub(crate) fn take(body: &mut Bytes) -> Result<Self, Garbled> {
        if body.len() < Self::LEN {
            return Err(Garbled);
        }
        let mut stat = body.split_to(Self::LEN);
        let _czxid = stat.try_get_i64()?;
        let mzxid = stat.try_get_i64()?;
        let _ctime = stat.try_get_i64()?;
        let _mtime = stat.try_get_i64()?;
        let version = stat.try_get_i32()?;
        Ok(Self { mzxid, version })
    }
}

/// What a node holds, with what the server knows of it; or why it is not told.
pub(crate) type Found = Result<(Bytes, Stat), Code>;

/// A node's data with what the server knows of it.
pub(crate) fn take_data(body: &mut Bytes) -> Result<(Bytes, Stat), Garbled> {
    Ok((take_bytes(body)?, Stat::take(body)?))
}

/// What each of the nodes holds that were got at once.
pub(crate) fn take_all_data(body: &mut Bytes) -> Result<Vec<Found>, Garbled> {
    let mut all = Vec::new();
    loop {
        let (op, done) = take_multi_header(body)?;
        all.push(match op {
            op::NONE if done => return Ok(all),
            op::NONE => Err(Code(body.try_get_i32()?)),
            _ => Ok(take_data(body)?),
        });
    }
}

/// The names of a node's children.
pub(crate) fn names(mut body: Bytes) -> Result<Vec<String>, Garbled> {
    let count = usize::try_from(body.try_get_i32()?).unwrap_or_default();
    // Each is four bytes long at least.
    let mut names = Vec::with_capacity(count.min(body.len() / 4));
    for _ in 0..count {
        let name = take_bytes(&mut body)?;
        // ZooKeeper's names are Unicode; what is not is nobody's key.
        names.push(String::from_utf8_lossy(&name).into_owned());
    }
    Ok(names)
}

/// Which write of a multi has failed, if one has, so that none was done. The answer's own code is 0 all the
/// same.
pub(crate) fn failed_write(mut body: Bytes) -> Result<Option<(usize, Code)>, Garbled> {
    let mut index = 0;
    // When one has failed there is nothing but codes, 0 for those before it.
    loop {
        let (op, done) = take_multi_header(&mut body)?;
        if op != op::NONE || done {
            return Ok(None);
        }
        match body.try_get_i32()? {
            0 => index += 1,
            code => return Ok(Some((index, Code(code)))),
        }
    }
}

/// What follows, and whether nothing does.
fn take_multi_header(body: &mut Bytes) -> Result<(i32, bool), Garbled> {
    let (op, done) = (body.try_get_i32()?, body.try_get_u8()? != 0);
    let _code = body.try_get_i32()?;
    Ok((op, done))
}

/// The answer to [`connect`].
pub(crate) struct Connected {
    /// In milliseconds, as the server wants it.
    pub(crate) timeout: i32,
    /// 0: the session to go on with is over.
    pub(crate) session: i64,
    pub(crate) password: Bytes,
}

impl Connected {
    pub(crate) fn read(mut frame: Bytes) -> Result<Self, Garbled> {
        let _protocol = frame.try_get_i32()?;
        let timeout = frame.try_get_i32()?;
        let session = frame.try_get_i64()?;
        let password = take_bytes(&mut frame)?;
        Ok(Self {
            timeout,
            session,
            password,
        })
    }
}

fn take_bytes(body: &mut Bytes) -> Result<Bytes, Garbled> {
    // -1 is no bytes at all.
    let length = usize::try_from(body.try_get_i32()?).unwrap_or_default();
    match length <= body.len() {
        true => Ok(body.split_to(length)),
        false => Err(Garbled),
    }
}
