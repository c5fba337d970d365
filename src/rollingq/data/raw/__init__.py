"""Read files of any dataset, pixels, sound, arrays and lists, or say in one line why one cannot be used."""
