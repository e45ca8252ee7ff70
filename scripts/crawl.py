"""Clips from the web, a list, a folder or a store into a crawl folder; `audiorec crawl` has more options."""

import argparse
from pathlib import Path

from audiorec.commands.crawl import crawl_bar
from audiorec.crawl import CrawlOptions, crawl
from audiorec.crawl.summary import crawl_summary
from audiorec.terminal import reported


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="coub:hot/weekly, a page, a feed, a list, a folder, s3://bucket/sounds")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--max-clips", type=int, help="stop when the folder holds so many")
    parser.add_argument("--allow-private", action="store_true", help="reach addresses that are not public too")
    arguments = parser.parse_args()
    options = CrawlOptions(max_clips=arguments.max_clips, allow_private=arguments.allow_private)
    with reported():
        with crawl_bar() as report:
            crawled = crawl(arguments.source, arguments.out_dir, options=options, report=report)
        print(crawl_summary(crawled, arguments.out_dir))


if __name__ == "__main__":
    main()
