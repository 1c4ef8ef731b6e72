//! Writes raw BSON: each byte of a value is copied once, into the command that carries it.

use mongodb::bson::RawDocumentBuf;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::{BinarySubtype, ElementType};

/// A document that is being written.
///
/// Names are those of commands and fields, without NUL; the names in values are written by
/// [`json`](crate::json), which checks them.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Begins a document that will have about this many bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.extend_from_slice(&[0; 4]);
        Self(out)
    }

    /// Ends the document.
    pub(crate) fn finish(mut self) -> RawDocumentBuf {
        end_document(&mut self.0, 0);
        // Only length and end are looked at, and they were just written.
        RawDocumentBuf::from_bytes(self.0).unwrap_or_default()
    }

    pub(crate) fn string(&mut self, name: &str, value: &str) {
        self.text(name, value.as_bytes());
    }

    /// A string that was found to be UTF-8 before.
    pub(crate) fn text(&mut self, name: &str, value: &[u8]) {
        self.element(ElementType::String, name);
        string(&mut self.0, value);
    }

    pub(crate) fn int32(&mut self, name: &str, value: i32) {
        self.element(ElementType::Int32, name);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn int64(&mut self, name: &str, value: i64) {
        self.element(ElementType::Int64, name);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, name: &str, value: bool) {
        self.element(ElementType::Boolean, name);
        self.0.push(value.into());
    }

    pub(crate) fn object_id(&mut self, name: &str, value: ObjectId) {
        self.element(ElementType::ObjectId, name);
        self.0.extend_from_slice(&value.bytes());
    }

    pub(crate) fn binary(&mut self, name: &str, value: &[u8]) {
        self.element(ElementType::Binary, name);
        self.0.extend_from_slice(&length(value.len()));
        self.0.push(BinarySubtype::Generic.into());
        self.0.extend_from_slice(value);
    }

    /// A document that was written before.
    pub(crate) fn written(&mut self, name: &str, document: &RawDocumentBuf) {
        self.payload(name, ElementType::EmbeddedDocument, document.as_bytes());
    }

    /// An element whose bytes, after type and name, were written before.
    pub(crate) fn payload(&mut self, name: &str, kind: ElementType, payload: &[u8]) {
        self.element(kind, name);
        self.0.extend_from_slice(payload);
    }

    pub(crate) fn document(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.nested(ElementType::EmbeddedDocument, name, content);
    }

    /// An array; its elements are named `0`, `1`, ….
    pub(crate) fn array(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.nested(ElementType::Array, name, content);
    }

    fn nested(&mut self, kind: ElementType, name: &str, content: impl FnOnce(&mut Self)) {
        self.element(kind, name);
        let start = begin_document(&mut self.0);
        content(self);
        end_document(&mut self.0, start);
    }

    fn element(&mut self, kind: ElementType, name: &str) {
        debug_assert!(!name.contains('\0'), "the name would end early");
        self.0.push(kind as u8);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
    }
}

/// Begins a document or array; the answer is for [`end_document`].
pub(crate) fn begin_document(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len() - 4
}

/// Ends the document or array that began there.
pub(crate) fn end_document(out: &mut Vec<u8>, start: usize) {
    out.push(0);
    let length = length(out.len() - start);
    out[start..start + 4].copy_from_slice(&length);
}

/// Writes a string without type and name.
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&length(text.len() + 1));
    out.extend_from_slice(text);
    out.push(0);
}

/// A length as BSON has it. One over 2 GiB cannot be sent: a command has at most 16 MiB, and the driver
/// refuses a longer one.
fn length(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes()
}
