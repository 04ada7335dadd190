"""Sheets of many images: contact sheets and thumbnails."""
