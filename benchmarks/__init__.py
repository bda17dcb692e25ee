"""What Holdfast costs and gains, beside what people use today. Run by hand or by `make bench`; nothing fails."""
