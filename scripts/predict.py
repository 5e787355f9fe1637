"""`python scripts/predict.py run=DIR input=FILE_OR_FOLDER output=FILE.csv`: what a run's student says of files."""

from distill.cli import predict

if __name__ == "__main__":
    predict()
