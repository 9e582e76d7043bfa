//! The arguments of one request, as ranges of the frame they arrived in.

/// Where one argument's bytes lie, counted from the start of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte of the argument.
    pub start: u32,
    /// One past its last byte.
    pub end: u32,
}

/// The arguments of one whole request; the first is the command's name.
///
/// Borrows the frame and the spans, copies nothing.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    frame: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// `spans` must lie inside `frame`; the scanner guarantees it.
    pub fn new(frame: &'a [u8], spans: &'a [Span]) -> Self {
        Self { frame, spans }
    }

    /// The whole request as it came in, `*N` line included.
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// Where the arguments lie in the frame.
    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// How many arguments, the command's name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no argument at all; a scanned request always has one.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index` (0 is the command's name), or `None` past the end.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let span = self.spans.get(index)?;
        self.frame.get(span.start as usize..span.end as usize)
    }

    /// The arguments from `index` on, in the same frame.
    #[inline]
    pub fn from(&self, index: usize) -> Args<'a> {
        Self { frame: self.frame, spans: self.spans.get(index..).unwrap_or_default() }
    }

    /// All arguments in order, the command's name first.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}
