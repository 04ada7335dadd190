"""The competition: ranking in; files, scores and the table out."""
