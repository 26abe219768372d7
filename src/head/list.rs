//! Values that are comma-separated lists (RFC 9110 §5.6.1), and the options of `Connection` among them.

use super::{Field, FieldName};

/// The elements of a list, white space around each taken off, empty ones left out (RFC 9110 §5.6.1.2). Commas inside
/// quoted strings split too: the lists that we read consist of tokens.
pub fn elements(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// The value without spaces and tabs at its ends.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether a `Connection` line among `fields` names `name`, and `name` is one that it may take away.
pub(super) fn connection_names(fields: &[Field], buffer: &[u8], name: &[u8]) -> bool {
    fields
        .iter()
        .filter(|field| field.id == FieldName::Connection)
        .flat_map(|field| elements(field.value.of(buffer)))
        .any(|option| option.eq_ignore_ascii_case(name))
        && !FieldName::recognise(name).is_protected()
}

#[cfg(test)]
mod tests {
    use super::{elements, trim};

    #[test]
    fn splits_lists_and_leaves_out_empty_elements() {
        let found: Vec<&[u8]> = elements(b" ,close ,\t, keep-alive,, x y ,").collect();
        assert_eq!(found, [&b"close"[..], b"keep-alive", b"x y"]);
        assert_eq!(elements(b" , ,").count(), 0);
    }

    #[test]
    fn trims_spaces_and_tabs_only() {
        assert_eq!(trim(b" \ta b\t "), b"a b");
        assert_eq!(trim(b"\x0ba\xa0"), b"\x0ba\xa0");
        assert_eq!(trim(b" \t"), b"");
    }
}
