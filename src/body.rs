//! Body bytes on their way between two connections.
