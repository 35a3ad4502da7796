"""`python -m withstand` is the command `withstand`."""

if __name__ == "__main__":
    from withstand.cli.own_code import leave_working_folder

    leave_working_folder()  # before anything else is imported
    from withstand.cli.main import main

    main()
