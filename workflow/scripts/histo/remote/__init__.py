"""Network access: Kaggle, credentials, HTTP, and downloads that resume.

Imported only by the scripts of download and submission stages.
"""
